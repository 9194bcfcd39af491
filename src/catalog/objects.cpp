#include "catalog/objects.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace chronicle::catalog {

namespace {

Objects cached;
bool valid = false;
bool registered = false;
uint64 generation = 0;

// Any change of one of our relations (or of everything) makes us look again. Never raises.
void on_relation_change(Datum, Oid relation) {
    if (!valid)
        return;
    const Oid ours[] = {InvalidOid,
                        cached.position_seq,
                        cached.stream_id_seq,
                        cached.stream,
                        cached.stream_name_key,
                        cached.category,
                        cached.scavenge_queue,
                        cached.removed_id,
                        cached.event,
                        cached.event_kind,
                        cached.execution,
                        cached.snapshot,
                        cached.snapshot_failure,
                        cached.event_kind_position,
                        cached.event_pkey,
                        cached.event_given_id,
                        cached.event_stream_version_key,
                        cached.workflow_event,
                        cached.workflow_event_execution_version_key};
    if (std::find(std::begin(ours), std::end(ours), relation) != std::end(ours))
        valid = false;
}

struct ExtensionRow {
    Oid oid, owner;
    char version[64];
};

// By the catalog itself: get_extension_oid knows neither owner nor version.
ExtensionRow read_extension() noexcept {
    ExtensionRow row{};
    Relation relation = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("chronicle"));
    SysScanDesc scan = systable_beginscan(relation, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) {
        Form_pg_extension form = reinterpret_cast<Form_pg_extension>(GETSTRUCT(tuple));
        row.oid = form->oid;
        row.owner = form->extowner;
        bool is_null;
        Datum version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &is_null);
        if (!is_null) {
            char *found = TextDatumGetCString(version);
            strlcpy(row.version, found, sizeof(row.version));
        }
    }
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
    return row;
}

// get_relname_relid returns InvalidOid for what is missing: the caller checks them all.
void look_up_relations(Objects &c) noexcept {
    Oid internal = get_namespace_oid("chronicle_data", true);
    Oid api = get_namespace_oid("chronicle", true);
    auto relation = [&](const char *name) {
        return OidIsValid(internal) ? get_relname_relid(name, internal) : InvalidOid;
    };
    c.position_seq = relation("position_seq");
    c.stream_id_seq = relation("stream_id_seq");
    c.stream = relation("stream");
    c.stream_pkey = relation("stream_pkey");
    c.stream_name_key = relation("stream_name_key");
    c.scavenge_queue = relation("scavenge_queue");
    c.removed_id = relation("removed_id");
    c.removed_id_pkey = relation("removed_id_pkey");
    c.removed_id_stream_version_key = relation("removed_id_stream_version_key");
    c.category = relation("category");
    c.category_pkey = relation("category_pkey");
    c.event = relation("event");
    c.kind_id_seq = relation("kind_id_seq");
    c.event_kind = relation("event_kind");
    c.event_kind_pkey = relation("event_kind_pkey");
    c.event_kind_name = relation("event_kind_name");
    c.event_pkey = relation("event_pkey");
    c.event_given_id = relation("event_given_id");
    c.event_stream_version_key = relation("event_stream_version_key");
    c.event_kind_position = relation("event_kind_position");
    c.workflow_event_pkey = relation("workflow_event_pkey");
    c.execution = relation("execution");
    c.node_task = relation("node_task");
    c.node_task_ready = relation("node_task_ready");
    c.awaited_child = relation("awaited_child");
    c.awaited_child_running = relation("awaited_child_running");
    c.awaited_child_told = relation("awaited_child_told");
    c.snapshot = relation("snapshot");
    c.snapshot_pkey = relation("snapshot_pkey");
    c.snapshot_failure = relation("snapshot_failure");
    c.snapshot_failure_pkey = relation("snapshot_failure_pkey");
    c.execution_pkey = relation("execution_pkey");
    c.workflow_event = relation("workflow_event");
    c.workflow_event_execution_version_key = relation("workflow_event_execution_version_key");
    c.event_type = OidIsValid(api)
                       ? GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"), ObjectIdGetDatum(api))
                       : InvalidOid;
}

bool load() {
    if (!registered) {
        CacheRegisterRelcacheCallback(on_relation_change, Datum(0));
        registered = true;
    }
    ExtensionRow row = pg::call([]() noexcept { return read_extension(); });
    if (!OidIsValid(row.oid))
        return false;
    if (!creating_extension && strcmp(row.version, CHRONICLE_VERSION) != 0)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = std::string("chronicle's library is version " CHRONICLE_VERSION
                                          ", but the extension in this database is version ") +
                              row.version,
                   .hint =
                       "Run ALTER EXTENSION chronicle UPDATE, or install the library of that version and restart."});
    cached = {};
    cached.extension = row.oid;
    cached.owner = row.owner;
    valid = true; // before the look-ups: an invalidation that they process must count
    pg::call([]() noexcept { look_up_relations(cached); });
    if (!OidIsValid(cached.workflow_event_execution_version_key) || !OidIsValid(cached.event_given_id) ||
        !OidIsValid(cached.category_pkey) || !OidIsValid(cached.removed_id_stream_version_key) ||
        !OidIsValid(cached.event_type)) {
        valid = false;
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "chronicle's tables are missing in this database",
                   .hint = "Drop the extension and create it again, or restore it from a dump."});
    }
    cached.generation = ++generation;
    return true;
}

} // namespace

const Objects *objects_if_installed() { return valid || load() ? &cached : nullptr; }

const Objects &objects() {
    const Objects *c = objects_if_installed();
    if (!c)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, {.message = "chronicle is not installed in this database",
                                                             .hint = "Run CREATE EXTENSION chronicle."});
    return *c;
}

} // namespace chronicle::catalog
