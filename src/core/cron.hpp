// Cron expressions, evaluated in a time zone.
//
//   minute hour day-of-month month day-of-week      (or with seconds first, when there are six fields)
//
// Each field: *, a number, a range a-b, a list of these, and a step /n; months and weekdays also by their English names
// (three letters), Sunday is 0 or 7; ? is * in the two day fields. When both day fields are restricted, either one
// matching is enough (as in every cron); a field that begins with * is not restricted. @hourly, @daily, @midnight,
// @weekly, @monthly, @yearly and @annually stand for the usual expressions.
//
// When clocks change: an expression whose hour field begins with * follows real time (every matching minute of it, also
// of an hour that comes twice). Any other fires once for each matching local time: at the first of two, and, when the
// local time is skipped, at the moment of the change (once for all that were skipped).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/result.hpp"

namespace chronicle::core {

/// The parsed expression: per field a bit for each value.
struct Cron {
    std::uint64_t seconds = 1, minutes = 0, hours = 0, days = 0, months = 0, weekdays = 0;
    bool any_hour = false; ///< the hour field begins with *
    bool any_day = false, any_weekday = false;
};

/// Problem: what is wrong, naming the field.
Result<Cron> parse_cron(std::string_view text);

/// The offset of a zone from UTC at a moment, and the moment when it changes next (nothing: never).
struct ZoneSpan {
    std::int64_t offset; ///< seconds east of UTC
    std::optional<std::int64_t> until;
};
/// Moments are seconds since 1970-01-01 00:00:00 UTC.
using Zone = std::function<ZoneSpan(std::int64_t)>;

/// The first moment after `after` at which the expression fires; nothing: not within 60 years.
std::optional<std::int64_t> next_after(const Cron &cron, std::int64_t after, const Zone &zone);

/// False for a day that there never is, as the 30th of February.
bool ever_fires(const Cron &cron);

} // namespace chronicle::core
