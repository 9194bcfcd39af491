// verify_projection: what is kept against what the events say. Both are read by one snapshot: what was projected then
// is to be equal to what comes of the events that count then. Nothing is locked, and nothing stays: what the user's
// code writes, and the staging table of a statement, are in a savepoint that is undone.
//
// States are folded in memory. A statement runs on a staging table (staging.cpp), in batches as the live ones.
#include "projection/manage.hpp"
#include "projection/recompute.hpp"
#include "projection/staging.hpp"

#include "access/access.hpp"
#include "pg/xact.hpp"

extern "C" {
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
}

namespace chronicle::projection {

namespace {

constexpr int states_in_batch = 5000;

void put_difference(ReturnSetInfo *result, Datum partition, Datum kept, Datum recomputed) {
    Datum values[] = {partition, kept, recomputed};
    bool nulls[] = {false, kept == 0, recomputed == 0};
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

// Where the live one is, as of the active snapshot.
int64 end_of(const Projection &p, const Progress &progress) {
    return p.is_inline && progress.status == "running" ? PG_INT64_MAX : progress.position;
}

// --- states ---

struct Kept {
    std::string partition;
    Datum state; // jsonb
};

std::vector<Kept> read_states(int64 id, int generation) {
    static constexpr Oid types[] = {INT8OID, INT4OID};
    static pg::Statement find{"SELECT partition, state FROM chronicle_data.projection_state "
                              "WHERE projection_id = $1 AND generation = $2 ORDER BY partition",
                              types};
    MemoryContext outer = CurrentMemoryContext;
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id).int4(generation), true);
    pg::MemorySwitch to_caller(outer);
    std::vector<Kept> kept;
    for (uint64 i = 0; i < rows.count; i++) {
        bool is_null;
        kept.push_back({rows[i].text(1), pg::copy_datum(rows[i].datum(2, &is_null), -1)});
    }
    return kept;
}

bool same_json(Datum a, Datum b) {
    return pg::call([&]() noexcept { return DatumGetBool(DirectFunctionCall2(jsonb_eq, a, b)); });
}

void verify_states(ReturnSetInfo *result, const Projection &p, const Progress &progress) {
    std::vector<Kept> kept = read_states(p.id, progress.generation);
    Share all{.parked = parked_positions(p.id)};
    Batch fold(p);
    int64 position = progress.origin;
    for (bool at_end = false; !at_end; fold.fold_in_memory())
        at_end = collect_share(p, all, position, end_of(p, progress), states_in_batch, fold);
    for (const Kept &k : kept) {
        Datum recomputed = fold.take_state(k.partition);
        if (recomputed == 0 || !same_json(k.state, recomputed))
            put_difference(result, pg::make_text(k.partition), k.state, recomputed);
    }
    for (const auto &[partition, state] : fold.other_states())
        put_difference(result, pg::make_text(partition), 0, state);
}

// --- tables of statements ---

void verify_table(ReturnSetInfo *result, const Projection &p, const Progress &progress) {
    Snapshot snapshot = GetActiveSnapshot();
    Target target = find_target(p);
    std::string schema = "chronicle_verify_" + std::to_string(p.id) + "_" + std::to_string(MyProcPid);
    create_staging(p, target, schema);
    Projection fresh = staged(p, target, schema);
    Share all{.parked = parked_positions(p.id)};
    int64 position = progress.origin;
    for (bool at_end = false; !at_end;) {
        pg::MemoryScope memory("chronicle verification");
        Batch batch(fresh);
        at_end = collect_share(fresh, all, position, end_of(p, progress), p.options.batch_size, batch);
        batch.apply(progress.generation, false);
        pg::check_interrupts();
    }
    access::OwnerScope owner(owner_of(p), p.search_path);
    pg::Spi spi;
    pg::Rows rows = compare(p, target, schema, snapshot);
    for (uint64 i = 0; i < rows.count; i++) {
        bool no_live, no_fresh, is_null;
        Datum kept = rows[i].datum(2, &no_live), recomputed = rows[i].datum(3, &no_fresh);
        put_difference(result, rows[i].datum(1, &is_null), no_live ? 0 : kept, no_fresh ? 0 : recomputed);
    }
}

void verify(ReturnSetInfo *result, const Projection &p) {
    pg::LatestSnapshotScope snapshot;
    std::optional<Progress> progress = read_progress_as_of_snapshot(p.id);
    if (!progress)
        (void)require_projection(p.name);
    else if (p.kind == Kind::state)
        verify_states(result, p, *progress);
    else
        verify_table(result, p, *progress);
}

} // namespace

CHRONICLE_FUNCTION(chronicle_verify_projection) {
    ProjectionPointer p = require_projection(pg::Arguments(fcinfo).required_text(0, "name"));
    require_owner(*p);
    require_computable(*p, "verified");
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    pg::Subtransaction savepoint;
    verify(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), *p);
    savepoint.rollback();
    PG_RETURN_NULL();
}

} // namespace chronicle::projection
