// Where our tables are in the current database: OIDs, looked up once and again after each change of the schema.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::catalog {

struct Objects {
    Oid extension;
    Oid owner; // of the extension: whose rights our own statements have
    Oid position_seq, stream_id_seq, kind_id_seq;
    Oid stream, stream_pkey, stream_name_key;
    Oid category, category_pkey;
    Oid scavenge_queue, removed_id, removed_id_pkey, removed_id_stream_version_key;
    Oid event_kind, event_kind_pkey, event_kind_name, event_kind_type;
    Oid event, event_pkey, event_given_id, event_stream_version_key, event_kind_position;
    Oid workflow_event, workflow_event_pkey, workflow_event_execution_version_key;
    Oid execution, execution_pkey, node_task, node_task_ready, node_result, node_rows;
    Oid awaited_child, awaited_child_running, awaited_child_told;
    Oid snapshot, snapshot_pkey, snapshot_failure, snapshot_failure_pkey;
    Oid event_type; // the composite type chronicle.event
    uint64 generation; // changes whenever the OIDs may have changed: caches compare it
};

/// Those of this database. 55000 when the extension is not there, or is not of this library's version.
const Objects &objects();
/// The same without an error: nullptr when the extension is not installed here.
const Objects *objects_if_installed();

} // namespace chronicle::catalog
