// What streams, categories and event types may be called.
#pragma once

#include "pg/postgres.hpp"

#include <string_view>

namespace chronicle::catalog {

inline constexpr size_t max_name_bytes = 1024;
inline constexpr std::string_view workflow_category = "workflow";
inline constexpr std::string_view stream_events_prefix = "$streams-"; // what happened to a stream: its deletion

/// The part before the first '-'; a name without '-' is its own category.
std::string_view category_of(std::string_view stream);

/// Refuses what is no stream or type name (22023).
void check_name(std::string_view name, const char *what);
/// Refuses what is no name of a stream that may be there, of users' or with what happened to one (22023).
void check_stream_to_read(std::string_view stream);
/// Refuses what is no category's name (22023).
void check_category(std::string_view category);
/// Refuses names that only chronicle itself writes (42939).
void check_not_reserved(std::string_view stream);
void check_type_not_reserved(std::string_view type);

} // namespace chronicle::catalog
