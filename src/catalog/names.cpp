#include "catalog/names.hpp"

#include "pg/error.hpp"
#include "sqlstates.hpp"

namespace chronicle::catalog {

std::string_view category_of(std::string_view stream) { return stream.substr(0, stream.find('-')); }

void check_name(std::string_view name, const char *what) {
    if (name.empty() || name.size() > max_name_bytes)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(what) + " must have 1 to " + std::to_string(max_name_bytes) + " bytes",
                   .detail = "{\"bytes\": " + std::to_string(name.size()) + "}"});
}

void check_stream_to_read(std::string_view stream) {
    if (stream.starts_with(stream_events_prefix))
        stream.remove_prefix(stream_events_prefix.size());
    check_name(stream, "stream name");
}

void check_category(std::string_view category) {
    check_name(category, "category");
    if (category.find('-') != std::string_view::npos)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "\"" + std::string(category) + "\" is no category: a category has no \"-\"",
                   .hint =
                       "The category of a stream is the part before the first \"-\"; read_stream reads one stream."});
}

void check_not_reserved(std::string_view stream) {
    if (stream.front() == '$' || category_of(stream) == workflow_category)
        pg::raise(ERRCODE_RESERVED_NAME,
                  {.message = "stream name \"" + std::string(stream) + "\" is reserved",
                   .hint = "Names that begin with \"$\" and the category \"workflow\" belong to chronicle itself."});
}

void check_type_not_reserved(std::string_view type) {
    if (type.front() == '$')
        pg::raise(ERRCODE_RESERVED_NAME, {.message = "event type \"" + std::string(type) + "\" is reserved",
                                          .hint = "Names that begin with \"$\" belong to chronicle itself."});
}

} // namespace chronicle::catalog
