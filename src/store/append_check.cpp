// What is wrong with a call before anything is looked up: names, sizes, streams and ids that stand twice.
#include "core/json.hpp"

#include "store/append.hpp"

#include "catalog/names.hpp"
#include "settings.hpp"
#include "sqlstates.hpp"

extern "C" {
#include "access/detoast.h"
}

#include <set>

namespace chronicle::store {

namespace {

void check_size(const NewEvent &event) {
    size_t bytes =
        pg::call([&]() noexcept { return toast_raw_datum_size(event.data) + toast_raw_datum_size(event.metadata); });
    if (bytes > static_cast<size_t>(settings::max_event_bytes))
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  {.message = "event is larger than chronicle.max_event_bytes",
                   .detail = core::json{{"bytes", bytes}, {"limit", settings::max_event_bytes}}.dump(),
                   .hint = "Keep large payloads in a table of your own and refer to them, or raise the setting."});
}

void check_append(const Append &append) {
    catalog::check_name(append.stream, "stream name");
    catalog::check_not_reserved(append.stream);
    for (const NewEvent &event : append.events) {
        catalog::check_name(event.type, "event type");
        catalog::check_type_not_reserved(event.type);
        check_size(event);
    }
    if (append.expected_version && *append.expected_version < -1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "expected_version must be NULL, -1, 0 or a version",
                   .detail = core::json{{"expected_version", *append.expected_version}}.dump()});
}

} // namespace

void check_call(const std::vector<Append> &appends) {
    std::set<std::string_view> streams;
    std::set<pg::Uuid> ids;
    for (const Append &append : appends) {
        check_append(append);
        if (!streams.insert(append.stream).second)
            pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                      {.message = "stream \"" + append.stream + "\" stands twice in one call",
                       .hint = "Put all events of a stream into one batch."});
        for (const NewEvent &event : append.events)
            if (event.id && !ids.insert(*event.id).second)
                pg::raise(event_id_conflict,
                          {.message = "event id " + pg::uuid_to_string(*event.id) + " occurs twice in one call",
                           .detail = core::json{{"event_id", pg::uuid_to_string(*event.id)}}.dump()});
    }
}

} // namespace chronicle::store
