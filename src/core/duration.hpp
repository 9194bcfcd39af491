#pragma once

#include <string_view>

#include "core/json.hpp"
#include "core/result.hpp"

namespace chronicle::core {

/// The longest duration that is accepted: a million days, in milliseconds.
inline constexpr double max_duration_ms = 1e6 * 24 * 60 * 60 * 1000;

/// Parses a duration as PostgreSQL's interval would, as far as its length is fixed:
/// "500ms", "1s", "1.5 h", "1h 30min", "1 day", "2 weeks", "01:30:00"; digits alone are seconds.
/// \return milliseconds, 0 … max_duration_ms
/// Problem: empty, negative, unknown unit, months and years (they have no fixed length), too long.
Result<double> parse_duration(std::string_view text);

/// The duration of a JSON value: a number of seconds, or a string for parse_duration.
/// \return milliseconds
Result<double> duration_ms(const json &value);

} // namespace chronicle::core
