#include "core/cron.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <string>
#include <vector>

namespace chronicle::core {

namespace {

constexpr std::int64_t day_seconds = 86400;
constexpr std::int64_t longest_search = 60 * 366 * day_seconds;

// ---- parsing ---------------------------------------------------------------------------------

struct Field {
    const char *name;
    int low, high;
    const char *names; ///< three letters each, from `low`; nullptr: none
};

constexpr Field second_field{"second", 0, 59, nullptr};
constexpr Field minute_field{"minute", 0, 59, nullptr};
constexpr Field hour_field{"hour", 0, 23, nullptr};
constexpr Field day_field{"day of month", 1, 31, nullptr};
constexpr Field month_field{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"};
constexpr Field weekday_field{"day of week", 0, 7, "sunmontuewedthufrisat"};

constexpr std::array<std::array<std::string_view, 2>, 7> macros{{
    {"@hourly", "0 * * * *"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
}};

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return result;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
    std::vector<std::string_view> parts;
    std::size_t begin = 0;
    while (begin <= text.size()) {
        const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> result;
    for (const std::string_view part : split(text, " \t"))
        if (!part.empty())
            result.push_back(part);
    return result;
}

Result<int> parse_value(std::string_view text, const Field &field) {
    const std::string problem = "the " + std::string(field.name) + " \"" + std::string(text) + "\" is not one";
    if (field.names && text.size() == 3) {
        const std::string_view names(field.names);
        for (std::size_t i = 0; i < names.size(); i += 3)
            if (names.substr(i, 3) == text)
                return {field.low + static_cast<int>(i / 3), {}};
    }
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty() || value < field.low ||
        value > field.high)
        return {std::nullopt, problem + " from " + std::to_string(field.low) + " to " + std::to_string(field.high)};
    return {value, {}};
}

// One element of a list: *, a, a-b, each perhaps with /step.
Result<std::uint64_t> parse_element(std::string_view text, const Field &field) {
    const std::size_t slash = text.find('/');
    const std::string_view range = text.substr(0, slash);
    int low = field.low, high = field.high, step = 1;
    if (range != "*") {
        const std::size_t dash = range.find('-');
        const Result<int> first = parse_value(range.substr(0, dash), field);
        if (!first)
            return {std::nullopt, first.problem};
        low = *first;
        high = slash == std::string_view::npos ? low : high; // a/n: from a on
        if (dash != std::string_view::npos) {
            const Result<int> last = parse_value(range.substr(dash + 1), field);
            if (!last)
                return {std::nullopt, last.problem};
            high = *last == 0 && field.high == 7 ? 7 : *last; // fri-sun
        }
        if (low > high)
            return {std::nullopt,
                    "the " + std::string(field.name) + " range \"" + std::string(range) + "\" is backwards"};
    }
    if (slash != std::string_view::npos) {
        const std::string_view digits = text.substr(slash + 1);
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
        if (error != std::errc() || end != digits.data() + digits.size() || digits.empty() || step < 1)
            return {std::nullopt, "the " + std::string(field.name) + " step \"" + std::string(digits) +
                                      "\" is not a positive number"};
    }
    std::uint64_t bits = 0;
    for (std::int64_t value = low; value <= high; value += step)
        bits |= std::uint64_t{1} << value;
    return {bits, {}};
}

Result<std::uint64_t> parse_field(std::string_view text, const Field &field) {
    std::uint64_t bits = 0;
    for (const std::string_view element : split(text, ",")) {
        const Result<std::uint64_t> parsed = parse_element(element, field);
        if (!parsed)
            return {std::nullopt, parsed.problem};
        bits |= *parsed;
    }
    return {bits, {}};
}

// ---- local time ------------------------------------------------------------------------------

struct Date {
    int year, month, day, weekday;
};

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

// Days since 1970-01-01 to the civil date (proleptic Gregorian calendar), by shifting the year to begin in March.
Date date_of(std::int64_t days) {
    const std::int64_t shifted = days + 719468; // since 0000-03-01
    const std::int64_t era = floor_divide(shifted, 146097), in_era = shifted - era * 146097;
    const std::int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    const std::int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    const std::int64_t march_month = (5 * in_year + 2) / 153;
    const int month = static_cast<int>(march_month < 10 ? march_month + 3 : march_month - 9);
    return {static_cast<int>(year + era * 400 + (month <= 2)), month,
            static_cast<int>(in_year - (153 * march_month + 2) / 5 + 1), static_cast<int>(((days + 4) % 7 + 7) % 7)};
}

bool has(std::uint64_t bits, int value) { return (bits >> value) & 1; }

// The smallest value in the set that is >= from; -1: none.
int first_from(std::uint64_t bits, int from) {
    const std::uint64_t rest = from > 63 ? 0 : bits >> from << from;
    return rest ? std::countr_zero(rest) : -1;
}

bool matches_day(const Cron &cron, const Date &date) {
    if (!has(cron.months, date.month))
        return false;
    const bool day = has(cron.days, date.day), weekday = has(cron.weekdays, date.weekday);
    return cron.any_day || cron.any_weekday ? day && weekday : day || weekday;
}

// The first matching second of a day from `from` on; -1: none.
int first_in_day(const Cron &cron, int from) {
    const int from_hour = from / 3600, from_minute = from / 60 % 60, from_second = from % 60;
    for (int hour = first_from(cron.hours, from_hour); hour >= 0; hour = first_from(cron.hours, hour + 1)) {
        const bool this_hour = hour == from_hour;
        for (int minute = first_from(cron.minutes, this_hour ? from_minute : 0); minute >= 0;
             minute = first_from(cron.minutes, minute + 1)) {
            const int second = first_from(cron.seconds, this_hour && minute == from_minute ? from_second : 0);
            if (second >= 0)
                return hour * 3600 + minute * 60 + second;
        }
    }
    return -1;
}

// The first matching local time in [from, until).
std::optional<std::int64_t> first_local(const Cron &cron, std::int64_t from, std::int64_t until) {
    for (std::int64_t day = floor_divide(from, day_seconds); day * day_seconds < until; day++) {
        if (!matches_day(cron, date_of(day)))
            continue;
        const std::int64_t begin = std::max(from - day * day_seconds, std::int64_t{0});
        const int second = first_in_day(cron, static_cast<int>(begin));
        if (second >= 0 && day * day_seconds + second < until)
            return day * day_seconds + second;
    }
    return std::nullopt;
}

} // namespace

Result<Cron> parse_cron(std::string_view text) {
    const std::string normal = lower(text);
    std::vector<std::string_view> fields = words(normal);
    for (const auto &[name, meaning] : macros)
        if (fields.size() == 1 && fields[0] == name)
            fields = words(meaning);
    if (fields.size() != 5 && fields.size() != 6)
        return {std::nullopt, "a cron expression has 5 fields (minute hour day-of-month month day-of-week), or 6 with "
                              "seconds first"};
    Cron cron;
    const std::size_t shift = fields.size() - 5;
    struct Target {
        std::string_view text;
        const Field *field;
        std::uint64_t *bits;
    };
    for (const std::size_t day : {shift + 2, shift + 4})
        if (fields[day] == "?")
            fields[day] = "*";
    const Target targets[] = {{shift ? fields[0] : "0", &second_field, &cron.seconds},
                              {fields[shift], &minute_field, &cron.minutes},
                              {fields[shift + 1], &hour_field, &cron.hours},
                              {fields[shift + 2], &day_field, &cron.days},
                              {fields[shift + 3], &month_field, &cron.months},
                              {fields[shift + 4], &weekday_field, &cron.weekdays}};
    for (const Target &target : targets) {
        const Result<std::uint64_t> bits = parse_field(target.text, *target.field);
        if (!bits)
            return {std::nullopt, bits.problem};
        *target.bits = *bits;
    }
    if (has(cron.weekdays, 7)) // Sunday
        cron.weekdays |= 1;
    cron.any_hour = fields[shift + 1].front() == '*';
    cron.any_day = fields[shift + 2].front() == '*';
    cron.any_weekday = fields[shift + 4].front() == '*';
    return {cron, {}};
}

// The zone's offset is constant between changes, and so local time is a plain count there. The walk begins two days
// before `after`: a time that comes twice is known by the change before it, and no change is longer than a day.
std::optional<std::int64_t> next_after(const Cron &cron, std::int64_t after, const Zone &zone) {
    std::int64_t begin = after - 2 * day_seconds;
    std::int64_t local_seen = INT64_MIN; // local times before it were there already
    std::optional<std::int64_t> offset_before;
    while (begin <= after + longest_search) {
        const ZoneSpan span = zone(begin);
        const std::int64_t end = std::min(span.until.value_or(INT64_MAX), after + longest_search + 1);
        const std::int64_t local_begin = begin + span.offset;
        if (!cron.any_hour && offset_before) {
            // Local times that the change skipped: all of them at the change.
            if (begin > after && first_local(cron, begin + *offset_before, local_begin))
                return begin;
            local_seen = std::max(local_seen, begin + *offset_before);
        }
        std::int64_t from = std::max(local_begin, after + 1 + span.offset);
        if (!cron.any_hour)
            from = std::max(from, local_seen);
        if (const std::optional<std::int64_t> found = first_local(cron, from, end + span.offset))
            return *found - span.offset;
        if (!span.until)
            break;
        offset_before = span.offset;
        begin = *span.until;
    }
    return std::nullopt;
}

bool ever_fires(const Cron &cron) {
    return next_after(cron, 0, [](std::int64_t) { return ZoneSpan{0, std::nullopt}; }).has_value();
}

} // namespace chronicle::core
