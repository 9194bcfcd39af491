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
bool changed = false; // since the look-ups began, which process invalidations themselves
bool registered = false;
uint64 generation = 0;

struct Named {
    Oid Objects::*member;
    const char *name; // in schema chronicle_data
};
constexpr Named relations[] = {
    {&Objects::position_seq, "position_seq"},
    {&Objects::stream_id_seq, "stream_id_seq"},
    {&Objects::kind_id_seq, "kind_id_seq"},
    {&Objects::stream, "stream"},
    {&Objects::stream_pkey, "stream_pkey"},
    {&Objects::stream_name_key, "stream_name_key"},
    {&Objects::category, "category"},
    {&Objects::category_pkey, "category_pkey"},
    {&Objects::scavenge_queue, "scavenge_queue"},
    {&Objects::removed_id, "removed_id"},
    {&Objects::removed_id_pkey, "removed_id_pkey"},
    {&Objects::removed_id_stream_version_key, "removed_id_stream_version_key"},
    {&Objects::event_kind, "event_kind"},
    {&Objects::event_kind_pkey, "event_kind_pkey"},
    {&Objects::event_kind_name, "event_kind_name"},
    {&Objects::event_kind_type, "event_kind_type"},
    {&Objects::event, "event"},
    {&Objects::event_pkey, "event_pkey"},
    {&Objects::event_given_id, "event_given_id"},
    {&Objects::event_stream_version_key, "event_stream_version_key"},
    {&Objects::event_kind_position, "event_kind_position"},
    {&Objects::workflow_event, "workflow_event"},
    {&Objects::workflow_event_pkey, "workflow_event_pkey"},
    {&Objects::workflow_event_execution_version_key, "workflow_event_execution_version_key"},
    {&Objects::execution, "execution"},
    {&Objects::execution_pkey, "execution_pkey"},
    {&Objects::node_task, "node_task"},
    {&Objects::node_task_ready, "node_task_ready"},
    {&Objects::node_result, "node_result"},
    {&Objects::node_rows, "node_rows"},
    {&Objects::awaited_child, "awaited_child"},
    {&Objects::awaited_child_running, "awaited_child_running"},
    {&Objects::awaited_child_told, "awaited_child_told"},
    {&Objects::snapshot, "snapshot"},
    {&Objects::snapshot_pkey, "snapshot_pkey"},
    {&Objects::snapshot_failure, "snapshot_failure"},
    {&Objects::snapshot_failure_pkey, "snapshot_failure_pkey"},
};

// Any change of one of our relations (or of everything) makes us look again: REINDEX CONCURRENTLY gives an index a new
// OID. Never raises.
void on_relation_change(Datum, Oid relation) {
    if (!OidIsValid(relation) || std::any_of(std::begin(relations), std::end(relations),
                                             [&](const Named &r) { return cached.*r.member == relation; })) {
        changed = true;
        valid = false;
    }
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

// False: one is missing.
bool look_up(Objects &c) noexcept {
    Oid internal = get_namespace_oid("chronicle_data", true), api = get_namespace_oid("chronicle", true);
    if (!OidIsValid(internal) || !OidIsValid(api))
        return false;
    for (const Named &r : relations)
        if (c.*r.member = get_relname_relid(r.name, internal); !OidIsValid(c.*r.member))
            return false;
    c.event_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("event"), ObjectIdGetDatum(api));
    return OidIsValid(c.event_type);
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
    changed = false;
    if (!pg::call([]() noexcept { return look_up(cached); }))
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "chronicle's tables are missing in this database",
                   .hint = "Drop the extension and create it again, or restore it from a dump."});
    cached.generation = ++generation;
    valid = !changed;
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
