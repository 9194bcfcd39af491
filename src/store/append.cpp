// append_event: lock the stream → look for a retry → check the version → take a position → insert.
//
// Locks: the stream's (until the end of the transaction), then nothing else that is waited for. Two appends to one
// stream therefore follow each other, position order is version order, and the loser of a version check has burnt
// neither a version nor a position. What a crash leaves: nothing, as in every transaction; the reserved positions of
// the block are lost.
//
// Versions and ids are checked against the newest committed state (SnapshotSelf under the stream's lock), whatever
// snapshot the transaction reads with.
#include "core/json.hpp"

#include "store/append.hpp"

#include "access/access.hpp"
#include "pg/relation.hpp"
#include "settings.hpp"
#include "sqlstates.hpp"
#include "store/catalog.hpp"
#include "store/event_id.hpp"
#include "store/kind.hpp"
#include "store/order.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/detoast.h"
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
    metadata
};

void check_size(const NewEvent &event) {
    size_t bytes =
        pg::call([&]() noexcept { return toast_raw_datum_size(event.data) + toast_raw_datum_size(event.metadata); });
    if (bytes > static_cast<size_t>(settings::max_event_bytes))
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  {.message = "event is larger than chronicle.max_event_bytes",
                   .detail = core::json{{"bytes", bytes}, {"limit", settings::max_event_bytes}}.dump(),
                   .hint = "Keep large payloads in a table of your own and refer to them, or raise the setting."});
}

void check_version(const std::string &stream, int64 actual, int64 expected) {
    bool fits = expected == -1 ? actual > 0 : actual == expected;
    if (fits)
        return;
    std::string wanted = expected == -1 ? "an existing stream" : "version " + std::to_string(expected);
    pg::raise(wrong_expected_version,
              {.message = "stream \"" + stream + "\" is at version " + std::to_string(actual) + ", expected " + wanted,
               .detail = core::json{{"stream", stream}, {"expected", expected}, {"actual", actual}}.dump(),
               .hint =
                   "Somebody else appended in between: read the stream again, decide again, and repeat the append."});
}

[[noreturn]] void raise_id_conflict(const pg::Uuid &id, const std::string &stream, int64 stored_version) {
    pg::raise(event_id_conflict, {.message = "event id " + pg::uuid_to_string(id) + " belongs to another event",
                                  .detail = core::json{{"event_id", pg::uuid_to_string(id)},
                                                       {"stream", stream},
                                                       {"stored_version", stored_version}}
                                                .dump(),
                                  .hint = "A retry must repeat stream, type and data; a new event needs a new id."});
}

// Puts the reader on the event that has this id: among the given ids, or at the position that an id of ours carries.
bool find_by_given_id(pg::IndexReader &reader, const pg::Uuid &id) {
    reader.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(id));
    return reader.next() != nullptr;
}

bool find_by_position(pg::IndexReader &reader, const pg::Uuid &id) {
    std::optional<int64> position = position_in(id);
    if (!position)
        return false;
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(*position));
    bool is_null;
    return reader.next() && pg::to_uuid(reader.column(Column::event_id, &is_null)) == id;
}

// The version of the stored event, when it is this one; CH003 when it is another.
int64 check_same_event(const pg::IndexReader &stored, const std::string &stream, std::optional<int64> id_of_stream,
                       const NewEvent &event) {
    bool is_null;
    int64 stored_version = DatumGetInt64(stored.column(Column::version, &is_null));
    bool same_stream = id_of_stream && DatumGetInt64(stored.column(Column::stream_id, &is_null)) == *id_of_stream;
    if (!same_stream)
        raise_id_conflict(*event.id, stream, 0); // where it lies is not for everybody
    Datum stored_data = stored.column(Column::data, &is_null);
    bool same =
        kind_of(DatumGetInt32(stored.column(Column::kind_id, &is_null))).type == event.type &&
        pg::call([&]() noexcept { return DatumGetBool(DirectFunctionCall2(jsonb_eq, stored_data, event.data)); });
    if (!same)
        raise_id_conflict(*event.id, stream, stored_version);
    order::set_last_position(DatumGetInt64(stored.column(Column::position, &is_null)));
    return stored_version;
}

std::optional<int64> find_retry(const std::string &stream, std::optional<int64> id_of_stream, const NewEvent &event) {
    const Catalog &c = catalog();
    pg::IndexReader by_id(c.event, c.event_given_id, SnapshotSelf);
    if (find_by_given_id(by_id, *event.id))
        return check_same_event(by_id, stream, id_of_stream, event);
    pg::IndexReader by_position(c.event, c.event_pkey, SnapshotSelf);
    if (find_by_position(by_position, *event.id))
        return check_same_event(by_position, stream, id_of_stream, event);
    return std::nullopt;
}

// metadata.schema_version says which version of its type an event has; without it, the first.
int32 version_of_type(const NewEvent &event) {
    std::optional<std::string> said = pg::jsonb_field(event.metadata, "schema_version");
    if (!said)
        return 1;
    std::optional<int64> number = core::integer_value(core::json(*said));
    if (!number || *number < 1 || *number > PG_INT32_MAX)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "metadata key \"schema_version\" must be an integer from 1 on",
                   .detail = core::json{{"schema_version", *said}}.dump()});
    return static_cast<int32>(*number);
}

void insert_event(const std::string &stream_name, int64 stream, int64 new_version, const NewEvent &event) {
    int32 of_type = version_of_type(event);
    int32 kind = find_or_make_kind(category_of(stream_name), event.type);
    pg::TableWriter writer(catalog().event);
    const char *session_user = pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
    TimestampTz now = GetCurrentTimestamp();
    Datum values[] = {Datum(0),
                      Int64GetDatum(stream),
                      Int64GetDatum(new_version),
                      TimestampTzGetDatum(now),
                      Datum(0),
                      Int32GetDatum(kind),
                      Int32GetDatum(of_type),
                      Datum(0),
                      BoolGetDatum(event.id.has_value()),
                      pg::make_text(session_user),
                      event.data,
                      event.metadata};
    const bool nulls[std::size(values)] = {};
    // Last: from here on readers wait for us.
    order::Allocation allocated = order::allocate(1);
    values[Column::position - 1] = Int64GetDatum(allocated.first);
    values[Column::floor - 1] = Int64GetDatum(allocated.floor);
    values[Column::event_id - 1] = pg::make_uuid(event.id ? *event.id : make_event_id(now, allocated.first));
    writer.insert(values, nulls);
    order::set_last_position(allocated.first);
}

} // namespace

int64 append(const std::string &stream, const NewEvent &event, std::optional<int64> expected_version) {
    check_name(stream, "stream name");
    check_name(event.type, "event type");
    check_not_reserved(stream);
    if (expected_version && *expected_version < -1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "expected_version must be NULL, -1, 0 or a version",
                   .detail = core::json{{"expected_version", *expected_version}}.dump()});
    check_size(event);
    access::require(access::Level::writer, "append events");

    lock_stream(stream);
    std::optional<int64> id = find_stream(stream);
    if (event.id)
        if (std::optional<int64> stored = find_retry(stream, id, event))
            return *stored;
    int64 actual = id ? last_version(*id) : 0;
    if (expected_version)
        check_version(stream, actual, *expected_version);
    insert_event(stream, id ? *id : find_or_make_stream(stream), actual + 1, event);
    return actual + 1;
}

CHRONICLE_FUNCTION(chronicle_append_event) {
    pg::Arguments arguments(fcinfo);
    std::string stream = arguments.required_text(0, "stream");
    NewEvent event{.type = arguments.required_text(1, "type"),
                   .data = arguments.null(2) ? pg::make_jsonb("{}") : arguments.datum(2),
                   .metadata = arguments.null(3) ? pg::make_jsonb("{}") : arguments.datum(3),
                   .id = arguments.uuid(5)};
    PG_RETURN_INT64(append(stream, event, arguments.int8(4)));
}

CHRONICLE_FUNCTION(chronicle_last_position) {
    if (order::last_position() == 0)
        PG_RETURN_NULL();
    PG_RETURN_INT64(order::last_position());
}

CHRONICLE_FUNCTION(chronicle_safe_position) {
    PG_RETURN_INT64(order::mark(pg::call([]() noexcept { return GetActiveSnapshot(); })));
}

} // namespace chronicle::store
