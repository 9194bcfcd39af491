// Appending: check the input → lock the streams → look for retries → check the versions → schemas and validators → take
// positions → insert → triggers (watch.hpp: snapshots, inline projections, workflows).
//
// Locks: the streams' (in the order of their keys, until the end of the transaction), then nothing else that is waited
// for before the events are stored; validators before that, and inline projections after it, lock what they like. Two
// appends to one stream therefore follow each other, position order is version order, two calls with the same
// streams cannot deadlock, and the loser of a version check has burnt neither a version nor a position.
//
// Versions and ids are checked against the newest committed state (SnapshotSelf under the stream's lock), whatever
// snapshot the transaction reads with. What a crash leaves: nothing, as in every transaction; the rest of the reserved
// block of positions is lost.
#include "core/json.hpp"

#include "store/append.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/relation.hpp"
#include "sqlstates.hpp"
#include "store/event_id.hpp"
#include "store/head.hpp"
#include "store/kind.hpp"
#include "store/order.hpp"
#include "store/scavenge.hpp"
#include "store/stream.hpp"
#include "store/watch.hpp"
#include "types/validate.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
}

namespace chronicle::store {

namespace {

// Columns of chronicle_data.event.
enum Column {
    position = 1,
    stream_id,
    version,
    recorded_at,
    floor,
    kind_id,
    type_version,
    event_id,
    id_given,
    actor,
    data,
    metadata,
    column_count = metadata
};

// --- retries ---

// A stored event, as far as a retry is compared with it. Of one that was scavenged the hash of its data is left.
struct Stored {
    int64 position, stream_id, version;
    std::string type;
    Datum data;
    pg::Uuid id;
    std::optional<int64> data_hash = {};
};

Stored read_stored(const pg::IndexReader &reader) {
    bool is_null;
    return {DatumGetInt64(reader.column(Column::position, &is_null)),
            DatumGetInt64(reader.column(Column::stream_id, &is_null)),
            DatumGetInt64(reader.column(Column::version, &is_null)),
            kind_of(DatumGetInt32(reader.column(Column::kind_id, &is_null))).type,
            pg::copy_datum(reader.column(Column::data, &is_null), -1),
            pg::to_uuid(reader.column(Column::event_id, &is_null))};
}

// Columns of chronicle_data.removed_id: event_id, stream_id, version, global_position, data_hash, kind_id.
Stored read_removed(const pg::IndexReader &reader) {
    bool is_null;
    return {DatumGetInt64(reader.column(4, &is_null)),
            DatumGetInt64(reader.column(2, &is_null)),
            DatumGetInt64(reader.column(3, &is_null)),
            kind_of(DatumGetInt32(reader.column(6, &is_null))).type,
            Datum(0),
            pg::to_uuid(reader.column(1, &is_null)),
            DatumGetInt64(reader.column(5, &is_null))};
}

// An id that was given to an event that is removed. To be asked after the events: a scavenger may commit in between.
std::optional<Stored> find_removed_by_id(const pg::Uuid &id) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.removed_id, c.removed_id_pkey, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(id));
    return reader.next() ? std::optional(read_removed(reader)) : std::nullopt;
}

// An event of a run, at the position that its id carries: it lies in no stream that can be appended to.
std::optional<Stored> find_run_event(const pg::Uuid &id, int64 position) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.workflow_event, c.workflow_event_pkey, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(position));
    bool is_null;
    if (!reader.next() || pg::to_uuid(reader.column(6, &is_null)) != id)
        return std::nullopt;
    return Stored{.position = position, .stream_id = -1, .version = 0, .type = {}, .data = Datum(0), .id = id};
}

// The event that has this id: among the given ids, or at the position that an id of ours carries.
std::optional<Stored> find_event_by_id(const pg::Uuid &id) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader given(c.event, c.event_given_id, SnapshotSelf);
    given.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(id));
    if (given.next())
        return read_stored(given);
    std::optional<int64> position = position_in(id);
    if (!position)
        return std::nullopt;
    pg::IndexReader ours(c.event, c.event_pkey, SnapshotSelf);
    ours.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(*position));
    if (!ours.next())
        return find_run_event(id, *position);
    Stored stored = read_stored(ours);
    return stored.id == id ? std::optional(stored) : std::nullopt;
}

std::optional<Stored> find_by_id(const pg::Uuid &id) {
    std::optional<Stored> stored = find_event_by_id(id);
    return stored ? stored : find_removed_by_id(id);
}

std::optional<Stored> find_by_version(int64 stream, int64 wanted) {
    const catalog::Objects &c = catalog::objects();
    for (bool removed : {false, true}) {
        pg::IndexReader reader(removed ? c.removed_id : c.event,
                               removed ? c.removed_id_stream_version_key : c.event_stream_version_key, SnapshotSelf);
        reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
        reader.key(2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(wanted));
        if (reader.next())
            return removed ? read_removed(reader) : read_stored(reader);
    }
    return std::nullopt;
}

// The given ids of a call: which are stored, which are new.
core::json sort_ids(const std::vector<Append> &appends) {
    core::json ids{{"stored", core::json::array()}, {"new", core::json::array()}};
    for (const Append &append : appends)
        for (const NewEvent &event : append.events)
            if (event.id)
                ids[find_by_id(*event.id) ? "stored" : "new"].push_back(pg::uuid_to_string(*event.id));
    return ids;
}

[[noreturn]] void raise_id_conflict(const Append &append, const pg::Uuid &id, const std::string &why) {
    core::json detail = sort_ids({append});
    detail.update({{"event_id", pg::uuid_to_string(id)}, {"stream", append.stream}, {"reason", why}});
    pg::raise(event_id_conflict,
              {.message = "event id " + pg::uuid_to_string(id) + " is stored already: " + why,
               .detail = detail.dump(),
               .hint = "A retry must repeat the whole call: stream, ids, types and data; a new event needs a new id."});
}

bool same_event(const Stored &stored, const NewEvent &event) {
    if (stored.type != event.type || (event.id && stored.id != *event.id))
        return false;
    if (stored.data_hash) {
        Datum id = pg::make_uuid(stored.id); // its hash is the seed: hashes of two events tell nothing of each other
        return *stored.data_hash == pg::call([&]() noexcept {
            Datum seed = DirectFunctionCall2(uuid_hash_extended, id, Int64GetDatum(0));
            return DatumGetInt64(DirectFunctionCall2(jsonb_hash_extended, event.data, seed));
        });
    }
    return pg::call([&]() noexcept { return DatumGetBool(DirectFunctionCall2(jsonb_eq, stored.data, event.data)); });
}

// An event that was appended without an id and is removed left nothing to compare with. Below version 1 there never was
// one.
bool is_forgotten(int64 stream, int64 version, const NewEvent &event) {
    std::optional<Stream> found = find_stream_by_id(stream, SnapshotSelf, nullptr);
    return !event.id && found && version >= 1 && version <= found->removed;
}

// The versions of the first time, when this call was stored before; CH003 when only a part of it was, or something
// else. Stream 0: there is none of that name.
std::optional<Appended> find_retry(const Append &append, int64 stream) {
    for (size_t i = 0; i < append.events.size(); i++) {
        if (!append.events[i].id)
            continue;
        std::optional<Stored> stored = find_by_id(*append.events[i].id);
        if (!stored)
            continue;
        const pg::Uuid &id = *append.events[i].id;
        if (stored->stream_id != stream)
            raise_id_conflict(append, id, "it belongs to another stream"); // which one is not for everybody
        int64 first = stored->version - static_cast<int64>(i);
        for (size_t k = 0; k < append.events.size(); k++) {
            int64 wanted = first + static_cast<int64>(k);
            std::optional<Stored> there = find_by_version(stream, wanted);
            if (!there && is_forgotten(stream, wanted, append.events[k]))
                continue;
            if (!there || !same_event(*there, append.events[k]))
                raise_id_conflict(append, id, "the call differs from what is stored");
            order::set_last_position(there->position);
        }
        return Appended{first, first + static_cast<int64>(append.events.size()) - 1};
    }
    return std::nullopt;
}

// --- checking versions ---

// What is known of a stream before the append.
struct Plan {
    std::optional<Stream> stream;
    int64 version = 0; // the last one before
    bool write = false;
    bool stored = false; // already: this is a retry
};

// Of all streams, before anything else is looked at.
void check_tombstones(const std::vector<Append> &appends, const std::vector<Plan> &plans) {
    std::vector<std::string> tombstoned;
    for (size_t i = 0; i < appends.size(); i++)
        if (plans[i].stream && plans[i].stream->tombstoned)
            tombstoned.push_back(appends[i].stream);
    if (!tombstoned.empty())
        raise_tombstoned(tombstoned);
}

// A retry is one of the whole call. True when this is one: then what else it says is not looked at.
bool is_retry(const std::vector<Append> &appends, const std::vector<Plan> &plans) {
    if (std::none_of(plans.begin(), plans.end(), [](const Plan &plan) { return plan.stored; }))
        return false;
    core::json stored = core::json::array(), fresh = core::json::array();
    for (size_t i = 0; i < appends.size(); i++)
        if (plans[i].stored || plans[i].write)
            (plans[i].stored ? stored : fresh).push_back(appends[i].stream);
    if (fresh.empty())
        return true;
    core::json detail = sort_ids(appends);
    detail.update({{"stored_streams", stored}, {"new_streams", fresh}});
    pg::raise(event_id_conflict,
              {.message = "only a part of this call is stored already",
               .detail = detail.dump(),
               .hint = "A retry must repeat the whole call, and is known by an event id in each stream; a new event "
                       "needs a new id."});
}

// One check that failed.
struct Refusal {
    std::string message;
    core::json detail;
};

// 0: nothing there (never written, or deleted). -1: something is. n: the last number given is n, deleted or not.
std::optional<Refusal> check_version(const Append &append, const Plan &plan) {
    if (!append.expected_version)
        return std::nullopt;
    int64 expected = *append.expected_version, actual = plan.version;
    bool empty = actual == 0 || (plan.stream && plan.stream->hidden >= actual);
    if (expected == 0 ? empty : expected == -1 ? !empty : actual == expected)
        return std::nullopt;
    std::string wanted = expected == -1 ? "an existing stream" : "version " + std::to_string(expected);
    return Refusal{"stream \"" + append.stream + "\" is at version " + std::to_string(actual) +
                       (empty && actual > 0 ? " and deleted" : "") + ", expected " + wanted,
                   core::json{{"stream", append.stream}, {"expected", expected}, {"actual", actual}}};
}

[[noreturn]] void raise_wrong_version(const std::vector<Refusal> &refusals) {
    core::json detail = core::json::array();
    for (const Refusal &refusal : refusals)
        detail.push_back(refusal.detail);
    bool one = refusals.size() == 1;
    pg::raise(wrong_expected_version,
              {.message = one ? refusals.front().message
                              : std::to_string(refusals.size()) + " streams are not at the expected version; " +
                                    refusals.front().message,
               .detail = (one ? detail[0] : detail).dump(),
               .hint =
                   "Somebody else appended in between: read the stream again, decide again, and repeat the append."});
}

// --- inserting ---

// metadata.schema_version says which version of its type an event has; without it, the newest registered one.
int32 version_of_type(const NewEvent &event, const types::EventType *type) {
    std::optional<std::string> said = pg::jsonb_field(event.metadata, "schema_version");
    if (!said)
        return type ? type->newest : 1;
    std::optional<int64> number = core::integer_value(core::json(*said));
    if (!number || *number < 1 || *number > PG_INT32_MAX)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "metadata key \"schema_version\" must be an integer from 1 on",
                   .detail = core::json{{"schema_version", *said}}.dump()});
    return static_cast<int32>(*number);
}

// Everything that can fail is worked out before the first position is taken: from then on readers wait for us.
struct PreparedEvent {
    const NewEvent *event;
    int32 kind, type_version;
};

// What schemas and validators said of all events of a call.
struct Checks {
    std::vector<Refusal> refusals;
    bool called_user = false;
};

void check_data(const Append &append, size_t index, const types::EventType &type, int32 version, Checks &checks) {
    const NewEvent &event = append.events[index];
    std::optional<types::Refusal> refused = types::validate(type, version, event.data, checks.called_user);
    if (!refused)
        return;
    core::json detail{{"type", event.type},        {"version", version},      {"path", refused->path},
                      {"reason", refused->reason}, {"stream", append.stream}, {"index", index}};
    if (!refused->sqlstate.empty()) {
        detail["sqlstate"] = refused->sqlstate;
        detail["context"] = refused->context;
    }
    checks.refusals.push_back(
        {"event of type \"" + event.type + "\" is refused: " + refused->path + ": " + refused->reason,
         std::move(detail)});
}

std::vector<PreparedEvent> prepare(const Append &append, Checks &checks) {
    std::vector<PreparedEvent> prepared;
    prepared.reserve(append.events.size());
    for (size_t i = 0; i < append.events.size(); i++) {
        const NewEvent &event = append.events[i];
        std::shared_ptr<const types::EventType> type = types::find_type(event.type);
        int32 version = version_of_type(event, type.get());
        if (type)
            check_data(append, i, *type, version, checks);
        prepared.push_back({&event, find_or_make_kind(catalog::category_of(append.stream), event.type), version});
    }
    return prepared;
}

[[noreturn]] void raise_refused(const std::vector<Refusal> &refusals) {
    core::json detail = core::json::array();
    for (const Refusal &refusal : refusals)
        detail.push_back(refusal.detail);
    bool one = refusals.size() == 1;
    pg::raise(invalid_event, {.message = one ? refusals.front().message
                                             : std::to_string(refusals.size()) +
                                                   " events are refused; the first: " + refusals.front().message,
                              .detail = core::write_json(one ? detail[0] : detail),
                              .hint = "View event_types shows what data of the type must look like."});
}

// A validator could have appended to a stream whose version is checked already.
void check_untouched(const std::vector<Append> &appends, const std::vector<Plan> &plans) {
    for (size_t i = 0; i < appends.size(); i++) {
        std::optional<Stream> now = find_newest_stream(appends[i].stream);
        if (plans[i].write && (now ? last_version(now->id) : 0) != plans[i].version)
            pg::raise(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                      {.message = "a validator appended to stream \"" + appends[i].stream + "\" itself",
                       .hint = "A validator looks at the data that it is given, and changes nothing."});
    }
}

class EventWriter {
public:
    EventWriter()
        : writer_(catalog::objects().event),
          actor_(pg::make_text(pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); }))) {}

    /// The first and the last position.
    std::pair<int64, int64> write(int64 stream, int64 version, const std::vector<PreparedEvent> &events) {
        std::pair<int64, int64> positions{};
        for (size_t done = 0; done < events.size();) {
            int count = static_cast<int>(std::min<size_t>(events.size() - done, order::max_allocation));
            order::Allocation allocated = order::allocate(count);
            TimestampTz now = GetCurrentTimestamp();
            for (int i = 0; i < count; i++, done++)
                add(stream, version++, events[done], now, allocated.first + i, allocated.floor);
            positions = {positions.first == 0 ? allocated.first : positions.first, allocated.first + count - 1};
        }
        order::set_last_position(positions.second);
        return positions;
    }
    void flush() { writer_.flush(); }

private:
    void add(int64 stream, int64 version, const PreparedEvent &prepared, TimestampTz now, int64 position, int64 floor) {
        const NewEvent &event = *prepared.event;
        Datum values[Column::column_count] = {Int64GetDatum(position),
                                              Int64GetDatum(stream),
                                              Int64GetDatum(version),
                                              TimestampTzGetDatum(now),
                                              Int64GetDatum(floor),
                                              Int32GetDatum(prepared.kind),
                                              Int32GetDatum(prepared.type_version),
                                              pg::make_uuid(event.id ? *event.id : make_event_id(now, position)),
                                              BoolGetDatum(event.id.has_value()),
                                              actor_,
                                              event.data,
                                              event.metadata};
        const bool nulls[std::size(values)] = {};
        writer_.add(values, nulls);
    }

    pg::TableWriter writer_;
    Datum actor_;
};

// Two transactions that append the same id to different streams at once do not see each other: the later one finds it
// in the unique index, after it has waited for the earlier one.
void flush(EventWriter &writer, const std::vector<Append> &appends) {
    try {
        writer.flush();
    } catch (const pg::Error &error) {
        if (error.sqlstate() != ERRCODE_UNIQUE_VIOLATION || error.constraint() != "event_given_id")
            throw;
        core::json ids{{"stored", core::json::array()}, {"new", core::json::array()}};
        for (const Append &append : appends)
            for (const NewEvent &event : append.events)
                if (event.id) { // PostgreSQL's detail names the one that it met
                    std::string id = pg::uuid_to_string(*event.id);
                    ids[error.detail().find(id) != std::string::npos ? "stored" : "new"].push_back(id);
                }
        pg::raise(event_id_conflict, {.message = "an event id was stored in another stream at the same time",
                                      .detail = ids.dump(),
                                      .hint = "A new event needs a new id."});
    }
}

// Inserts, and lets the triggers see it (snapshots, inline projections: watch.hpp).
void write(const std::vector<Append> &appends, const std::vector<Plan> &plans,
           const std::vector<std::vector<PreparedEvent>> &prepared) {
    std::vector<StoredBatch> stored;
    {
        EventWriter writer;
        for (size_t i = 0; i < appends.size(); i++) {
            if (!plans[i].write)
                continue;
            const Stream &stream = *plans[i].stream;
            int64 first = plans[i].version + 1, last = plans[i].version + static_cast<int64>(prepared[i].size());
            forget_head(stream.id);
            auto [first_position, last_position] = writer.write(stream.id, first, prepared[i]);
            remember_head({stream.id, last, stream.hidden});
            stored.push_back({appends[i].stream, catalog::category_of(appends[i].stream), stream.id, first, last,
                              first_position, last_position});
        }
        flush(writer, appends);
    }
    worker::announce_appended(worker::log_of_users);
    fire_append_triggers(stored);
}

// --- the call ---

void lock_streams(const std::vector<Append> &appends) {
    std::vector<std::string_view> names;
    for (const Append &append : appends)
        names.push_back(append.stream);
    lock_streams_sorted(names);
}

// The stream and its last version, under its lock.
Plan find_plan(const std::string &name) {
    std::optional<int64> known = known_stream_id(name);
    if (std::optional<Head> head = known ? find_head(*known) : std::nullopt)
        return {Stream{head->stream_id, head->hidden}, head->version};
    Plan plan{find_newest_stream(name)};
    plan.version = plan.stream ? last_version(plan.stream->id) : 0;
    return plan;
}

// The input is checked, and the caller may do it.
std::vector<Appended> append_checked(const std::vector<Append> &appends) {
    order::LastPositionScope last_position;
    pg::call([]() noexcept {
        PreventCommandIfReadOnly("append"); // direct inserts do not ask
        PreventCommandIfParallelMode("append");
    });
    lock_streams(appends);

    std::vector<Appended> results(appends.size());
    std::vector<Plan> plans(appends.size());
    std::vector<Refusal> refusals;
    for (size_t i = 0; i < appends.size(); i++)
        plans[i] = find_plan(appends[i].stream);
    check_tombstones(appends, plans);
    for (size_t i = 0; i < appends.size(); i++) {
        Plan &plan = plans[i];
        if (std::optional<Appended> before = find_retry(appends[i], plan.stream ? plan.stream->id : 0)) {
            results[i] = *before;
            plan.stored = true;
            continue;
        }
        plan.write = !appends[i].events.empty();
        results[i] = {plan.write ? plan.version + 1 : 0, plan.version + static_cast<int64>(appends[i].events.size())};
        if (std::optional<Refusal> refusal = check_version(appends[i], plan))
            refusals.push_back(std::move(*refusal));
    }
    if (is_retry(appends, plans))
        return results;
    if (!refusals.empty())
        raise_wrong_version(refusals);

    std::vector<std::vector<PreparedEvent>> prepared(appends.size());
    Checks checks;
    bool any = false;
    for (size_t i = 0; i < appends.size(); i++) {
        if (!plans[i].write)
            continue;
        any = true;
        prepared[i] = prepare(appends[i], checks);
    }
    if (!checks.refusals.empty())
        raise_refused(checks.refusals);
    if (!any)
        return results;
    if (checks.called_user)
        check_untouched(appends, plans);
    for (size_t i = 0; i < appends.size(); i++)
        if (plans[i].write && !plans[i].stream)
            plans[i].stream = make_stream(appends[i].stream);
    write(appends, plans, prepared);
    return results;
}

// What happened to a stream as an event of its own, for read models.
void append_system_event(const std::string &stream, const char *type, int64 version) {
    Datum data = pg::make_jsonb(core::json{{"stream", stream}, {"version", version}}.dump());
    append_checked({{std::string(catalog::stream_events_prefix) + stream,
                     std::nullopt,
                     {{type, data, pg::make_jsonb("{}"), std::nullopt}}}});
}

} // namespace

std::vector<Appended> append(const std::vector<Append> &appends) {
    check_call(appends);
    for (const Append &append : appends)
        access::require_append(catalog::category_of(append.stream));
    return append_checked(appends);
}

int64 delete_stream(const std::string &stream, std::optional<int64> expected_version, bool tombstone) {
    Append check{stream, expected_version, {}};
    check_call({check});
    int64 last = append_checked({check}).front().last; // the check holds: the lock is ours
    std::optional<Stream> found = find_newest_stream(stream);
    if (!tombstone && (!found || found->hidden >= last))
        return last; // nothing to hide
    Stream hidden = found ? *found : make_stream(stream);
    hide_stream(hidden, last, tombstone);
    queue_for_scavenger(hidden.id);
    append_system_event(stream, tombstone ? "$stream-tombstoned" : "$stream-deleted", last);
    return last;
}

} // namespace chronicle::store
