#include "core/duration.hpp"

#include <charconv>
#include <optional>
#include <string>

#include "core/excerpt.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

constexpr double second = 1000;
constexpr double minute = 60 * second;
constexpr double hour = 60 * minute;
constexpr double day = 24 * hour;

struct Unit {
    std::string_view name;
    double ms;
};

constexpr Unit units[] = {
    {"ms", 1},          {"msec", 1},     {"msecs", 1},     {"millisecond", 1}, {"milliseconds", 1},
    {"s", second},      {"sec", second}, {"secs", second}, {"second", second}, {"seconds", second},
    {"m", minute},      {"min", minute}, {"mins", minute}, {"minute", minute}, {"minutes", minute},
    {"h", hour},        {"hr", hour},    {"hrs", hour},    {"hour", hour},     {"hours", hour},
    {"d", day},         {"day", day},    {"days", day},    {"w", 7 * day},     {"week", 7 * day},
    {"weeks", 7 * day},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Reads from the front of a text.
class Reader {
public:
    explicit Reader(std::string_view text) : rest_(text) {}

    bool done() const { return rest_.empty(); }
    bool at(char c) const { return !rest_.empty() && rest_.front() == c; }
    void skip() { rest_.remove_prefix(1); }
    void skip_space() { rest_ = trim(rest_); }

    std::optional<double> number() {
        if (rest_.empty() || (!is_digit(rest_.front()) && rest_.front() != '.'))
            return std::nullopt; // no sign, no "inf"
        double value = 0;
        const auto [end, error] =
            std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, std::chars_format::fixed);
        if (error != std::errc())
            return std::nullopt;
        rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
        return value;
    }

    std::string_view word() {
        std::size_t length = 0;
        while (length < rest_.size() && is_letter(rest_[length]))
            length++;
        const std::string_view word = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return word;
    }

private:
    std::string_view rest_;
};

std::optional<double> unit_ms(std::string_view name) {
    for (const Unit &unit : units)
        if (unit.name == name)
            return unit.ms;
    return std::nullopt;
}

// What follows the hours of 01:30 or 01:30:05.5, in milliseconds.
std::optional<double> clock_rest(Reader &reader) {
    double ms = 0;
    for (const double unit : {minute, second}) {
        if (!reader.at(':'))
            return unit == second ? std::optional(ms) : std::nullopt;
        reader.skip();
        const std::optional<double> value = reader.number();
        if (!value || *value >= 60)
            return std::nullopt;
        ms += *value * unit;
    }
    return ms;
}

Result<double> malformed(std::string_view text) {
    return problem<double>("\"" + std::string(beginning(text, 40)) +
                           "\" is no duration; write a number of seconds, or a text like "
                           "\"500ms\", \"30s\", \"5min\", \"1h\" or \"1 day\"");
}

} // namespace

Result<double> parse_duration(std::string_view text) {
    Reader reader(trim(text));
    double total = 0;
    for (bool first = true; first || !reader.done(); first = false) {
        const std::optional<double> value = reader.number();
        if (!value)
            return malformed(text);
        if (reader.at(':')) {
            const std::optional<double> rest = clock_rest(reader);
            if (!rest)
                return malformed(text);
            total += *value * hour + *rest;
        } else if (first && reader.done()) {
            total = *value * second;
        } else {
            reader.skip_space();
            const std::optional<double> unit = unit_ms(lower_case(reader.word()));
            if (!unit)
                return malformed(text);
            total += *value * *unit;
        }
        reader.skip_space();
    }
    if (!(total <= max_duration_ms))
        return problem<double>("is longer than a million days");
    return ok(total);
}

Result<double> duration_ms(const json &value) {
    if (value.is_string())
        return parse_duration(value.get_ref<const std::string &>());
    const std::optional<double> seconds = number_value(value);
    if (!seconds)
        return problem<double>("must be a number of seconds, or a text like \"30s\"");
    if (*seconds < 0)
        return problem<double>("must not be negative");
    if (!(*seconds * second <= max_duration_ms))
        return problem<double>("is longer than a million days");
    return ok(*seconds * second);
}

} // namespace chronicle::core
