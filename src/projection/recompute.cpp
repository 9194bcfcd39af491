#include "projection/recompute.hpp"

#include "access/access.hpp"
#include "pg/lock.hpp"

extern "C" {
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr int64 scan_limit = 50000; // rows that one batch looks at, whether they match or not

bool belongs(const Share &share, const Partitioner &partitioner, const store::EventRow &event) {
    return share.parts == 1 ||
           pg::lock_key(partitioner.of(event)) % static_cast<uint64>(share.parts) == static_cast<uint64>(share.part);
}

} // namespace

void require_computable(const Projection &p, const char *done) {
    if (p.kind == Kind::state || (p.kind == Kind::statement && p.options.target))
        return;
    pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
              {.message = "projection \"" + p.name + "\" cannot be " + done + ": what it writes is not known",
               .hint =
                   p.kind == Kind::handler
                       ? "Its handler writes tables of its own. With the option \"reset\" reset_projection projects "
                         "anew, in place."
                       : "Give it the option \"target\": the table that it writes."});
}

std::set<int64> parked_positions(int64 id) {
    static constexpr Oid types[] = {INT8OID};
    static pg::Statement find{"SELECT global_position FROM chronicle_data.projection_parked WHERE projection_id = $1",
                              types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(id), true);
    std::set<int64> parked;
    for (uint64 i = 0; i < rows.count; i++)
        parked.insert(rows[i].int8(1));
    return parked;
}

bool collect_share(const Projection &projection, const Share &share, int64 &position, int64 until, int limit,
                   Batch &batch) {
    pg::MemoryScope memory("chronicle events");
    Partitioner partitioner(projection);
    access::OwnerScope owner(owner_of(projection));
    store::LogScan scan{.limit = scan_limit};
    store::LogQuery query = projection.filter.query();
    query.after = position;
    query.count = PG_INT64_MAX;
    query.scan = &scan;
    std::optional<int64> mark = until;
    std::unique_ptr<store::EventSource> events = store::open_log(query, GetActiveSnapshot(), mark);
    while (batch.size() < limit && !batch.is_full()) {
        const store::EventRow *event = events->next();
        if (!event) {
            bool at_end = scan.rows < scan_limit;
            position = at_end ? std::max(until, position) : scan.position;
            return at_end;
        }
        if (!share.parked.contains(event->position) && belongs(share, partitioner, *event))
            batch.add(*event);
    }
    position = scan.position;
    return false;
}

} // namespace chronicle::projection
