#include "flow/journal.hpp"

#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "pg/spi.hpp"
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
bool is_locked(const pg::Uuid &execution) { return pg::is_locked(pg::LockKind::execution, key_of(execution)); }

namespace {

// What it is made of lives until the writer's flush().
void add_event(pg::TableWriter &writer, const pg::Uuid &execution, Datum actor, const Event &event, int64 version,
               int64 position, int64 floor) {
    pg::Values row;
    row.int8(position).uuid(execution).int8(version).time(event.at).int8(floor);
    row.uuid(store::make_event_id(event.at, position)).text(event.type).add(actor).maybe_text(event.node_id);
    row.jsonb(core::write_json(event.data));
    writer.add(row.datums(), row.null_flags());
}

// Calls add(number, position, floor) for each of so many events.
template <typename Add> void give_positions(size_t count, Add add) {
    for (size_t given = 0; given < count;) {
        int part = static_cast<int>(std::min<size_t>(count - given, store::order::max_allocation));
        store::order::Allocation allocated = store::order::allocate(part);
        for (int i = 0; i < part; i++)
            add(given++, allocated.first + i, allocated.floor);
    }
}

} // namespace

int64 write_events(const pg::Uuid &execution, const std::string &actor, const std::vector<Event> &events,
                   std::optional<int64> last) {
    if (events.empty())
        return 0;
    worker::announce_appended(worker::log_of_runs);
    int64 version = last ? *last : last_version(execution);
    pg::TableWriter writer(catalog::objects().workflow_event, pg::Placement::together);
    Datum actor_text = pg::make_text(actor);
    give_positions(events.size(), [&](size_t i, int64 position, int64 floor) {
        add_event(writer, execution, actor_text, events[i], ++version, position, floor);
        writer.flush();
    });
    return version;
}

void write_first_events(const std::string &actor, const std::vector<std::pair<pg::Uuid, Event>> &events) {
    worker::announce_appended(worker::log_of_runs);
    pg::TableWriter writer(catalog::objects().workflow_event, pg::Placement::together);
    Datum actor_text = pg::make_text(actor);
    give_positions(events.size(), [&](size_t i, int64 position, int64 floor) {
        add_event(writer, events[i].first, actor_text, events[i].second, 1, position, floor);
    });
    writer.flush();
}

} // namespace chronicle::flow
