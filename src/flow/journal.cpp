#include "flow/journal.hpp"

#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "store/event_id.hpp"
#include "store/order.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "access/stratnum.h"
#include "common/hashfn.h"
#include "utils/fmgroids.h"
}

namespace chronicle::flow {

namespace {

uint64 key_of(const pg::Uuid &execution) {
    return hash_bytes_extended(execution.data(), static_cast<int>(execution.size()), 0);
}

} // namespace

int64 last_version(const pg::Uuid &execution) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.workflow_event, c.workflow_event_execution_version_key, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(execution));
    if (!reader.next(true))
        return 0;
    bool is_null;
    return DatumGetInt64(reader.column(3, &is_null));
}

void lock_execution(const pg::Uuid &execution) { pg::lock(pg::LockKind::execution, key_of(execution)); }
bool try_lock_execution(const pg::Uuid &execution) { return pg::try_lock(pg::LockKind::execution, key_of(execution)); }

int64 write_events(const pg::Uuid &execution, const std::string &actor, const std::vector<Event> &events,
                   std::optional<int64> last) {
    if (events.empty())
        return 0;
    worker::announce_appended(worker::log_of_runs);
    int64 version = last ? *last : last_version(execution);
    pg::TableWriter writer(catalog::objects().workflow_event, pg::Placement::together);
    Datum id = pg::make_uuid(execution), actor_text = pg::make_text(actor);
    size_t written = 0;
    while (written < events.size()) {
        int count = static_cast<int>(std::min<size_t>(events.size() - written, store::order::max_allocation));
        store::order::Allocation allocated = store::order::allocate(count);
        for (int i = 0; i < count; i++, written++) {
            const Event &event = events[written];
            Datum values[] = {Int64GetDatum(allocated.first + i),
                              id,
                              Int64GetDatum(++version),
                              TimestampTzGetDatum(event.at),
                              Int64GetDatum(allocated.floor),
                              pg::make_uuid(store::make_event_id(event.at, allocated.first + i)),
                              pg::make_text(event.type),
                              actor_text,
                              event.node_id ? pg::make_text(*event.node_id) : Datum(0),
                              pg::make_jsonb(core::write_json(event.data))};
            bool nulls[std::size(values)] = {};
            nulls[8] = !event.node_id;
            writer.insert(values, nulls);
        }
    }
    return version;
}

} // namespace chronicle::flow
