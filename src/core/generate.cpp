#include "core/generate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "core/excerpt.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

using Kind = Generator::Kind;

constexpr std::int64_t default_string_length = 10;
constexpr std::int64_t max_string_length = 10000;
constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

// ---- reading literals ------------------------------------------------------------------------

// Splits at commas that stand outside of quotes and brackets. Empty: brackets or quotes are open.
std::optional<std::vector<std::string_view>> split(std::string_view list) {
    std::vector<std::string_view> parts;
    std::size_t begin = 0;
    int depth = 0;
    char quote = 0;
    for (std::size_t i = 0; i < list.size(); i++) {
        const char c = list[i];
        if (quote) {
            if (c == '\\' && quote == '"')
                i++;
            else if (c == quote)
                quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',' && depth == 0) {
            parts.push_back(trim(list.substr(begin, i - begin)));
            begin = i + 1;
        }
    }
    if (quote || depth != 0)
        return std::nullopt;
    parts.push_back(trim(list.substr(begin)));
    return parts;
}

// 'text', with '' for a quote inside.
std::optional<std::string> quoted_text(std::string_view text) {
    if (text.size() < 2 || text.front() != '\'' || text.back() != '\'')
        return std::nullopt;
    std::string result;
    for (std::size_t i = 1; i + 1 < text.size(); i++) {
        if (text[i] == '\'' && (i + 2 >= text.size() || text[++i] != '\''))
            return std::nullopt;
        result += text[i];
    }
    return result;
}

std::optional<json> literal(std::string_view text) {
    if (auto quoted = quoted_text(text))
        return json(*std::move(quoted));
    return parse_json(text).value;
}

std::optional<std::int64_t> integer_literal(std::string_view text) {
    const std::optional<json> value = literal(text);
    return value && is_number(*value) ? integer_value(*value) : std::nullopt;
}

std::optional<double> number_literal(std::string_view text) {
    const std::optional<json> value = literal(text);
    return value && is_number(*value) ? number_value(*value) : std::nullopt;
}

// ---- values ----------------------------------------------------------------------------------

// The type of one literal; empty for null, which fits every type.
std::optional<ValueType> type_of(const json &value) {
    if (value.is_null())
        return std::nullopt;
    if (value.is_boolean())
        return ValueType::boolean;
    if (value.is_string())
        return ValueType::text;
    if (value.is_number_integer() && integer_value(value))
        return ValueType::bigint;
    return is_number(value) ? ValueType::float8 : ValueType::jsonb;
}

ValueType common_type(const std::vector<json> &values) {
    std::optional<ValueType> common;
    for (const json &value : values) {
        const std::optional<ValueType> type = type_of(value);
        if (!type || type == common)
            continue;
        const auto numeric = [](ValueType t) { return t == ValueType::bigint || t == ValueType::float8; };
        if (!common)
            common = type;
        else
            common = numeric(*common) && numeric(*type) ? ValueType::float8 : ValueType::jsonb;
    }
    return common.value_or(ValueType::text);
}

Value to_value(const json &value, ValueType type) {
    if (value.is_null())
        return std::monostate();
    switch (type) {
    case ValueType::bigint:
        return integer_value(value).value_or(0);
    case ValueType::float8:
        return number_value(value).value_or(0);
    case ValueType::boolean:
        return value.get<bool>();
    case ValueType::text:
        return value.get<std::string>();
    case ValueType::jsonb:
        return write_json(value);
    }
    return std::monostate();
}

Generator choose_from(Kind kind, const std::vector<json> &values) {
    Generator generator{.kind = kind, .type = common_type(values)};
    for (const json &value : values)
        generator.values.push_back(to_value(value, generator.type));
    return generator;
}

// ---- one parser per generator; the argument is the text between the brackets -------------------

using Argument = std::optional<std::string_view>;

Result<Generator> parse_sequence(Argument argument) {
    if (argument && !argument->empty())
        return problem<Generator>("sequence takes no arguments");
    return ok(Generator{.kind = Kind::sequence, .type = ValueType::bigint});
}

Result<Generator> parse_random_string(Argument argument) {
    Generator generator{.kind = Kind::random_string, .type = ValueType::text, .int_high = default_string_length};
    if (argument && !argument->empty()) {
        const auto length = integer_literal(*argument);
        if (!length || *length < 1 || *length > max_string_length)
            return problem<Generator>("random_string takes a length from 1 to " + std::to_string(max_string_length));
        generator.int_high = *length;
    }
    return ok(std::move(generator));
}

Result<Generator> parse_random_int(Argument argument) {
    const auto parts = split(argument.value_or(""));
    if (parts && parts->size() == 2) {
        const auto low = integer_literal((*parts)[0]), high = integer_literal((*parts)[1]);
        if (low && high && *low <= *high)
            return ok(
                Generator{.kind = Kind::random_int, .type = ValueType::bigint, .int_low = *low, .int_high = *high});
    }
    return problem<Generator>("random_int takes two whole numbers, the lower one first");
}

Result<Generator> parse_random_double(Argument argument) {
    const auto parts = split(argument.value_or(""));
    if (parts && parts->size() == 2) {
        const auto low = number_literal((*parts)[0]), high = number_literal((*parts)[1]);
        if (low && high && *low <= *high)
            return ok(Generator{
                .kind = Kind::random_double, .type = ValueType::float8, .double_low = *low, .double_high = *high});
    }
    return problem<Generator>("random_double takes two numbers, the lower one first");
}

Result<Generator> parse_random_choice(Argument argument) {
    const std::string_view list = argument.value_or("");
    const std::string expected = "random_choice takes a list like ['x', 'y']";
    if (list.size() < 2 || list.front() != '[' || list.back() != ']')
        return problem<Generator>(expected);
    const auto parts = split(list.substr(1, list.size() - 2));
    if (!parts)
        return problem<Generator>(expected);
    std::vector<json> values;
    for (const std::string_view part : *parts) {
        const std::optional<json> value = literal(part);
        if (!value)
            return problem<Generator>(expected + "; \"" + std::string(beginning(part, 40)) + "\" is no value");
        values.push_back(*value);
    }
    return ok(choose_from(Kind::random_choice, values));
}

Result<Generator> parse_constant(Argument argument) {
    if (!argument || argument->empty())
        return problem<Generator>("constant takes a value");
    return ok(choose_from(Kind::constant, {literal(*argument).value_or(json(std::string(*argument)))}));
}

struct NamedParser {
    std::string_view name;
    Result<Generator> (*parse)(Argument);
};

constexpr NamedParser parsers[] = {
    {"sequence", parse_sequence},           {"random_string", parse_random_string}, {"random_int", parse_random_int},
    {"random_double", parse_random_double}, {"random_choice", parse_random_choice}, {"constant", parse_constant},
};

double between(double low, double high, double unit) {
    const double value = low * (1 - unit) + high * unit; // high - low might overflow
    return value < high || low == high ? value : std::nextafter(high, low);
}

} // namespace

std::string_view type_name(ValueType type) {
    switch (type) {
    case ValueType::bigint:
        return "bigint";
    case ValueType::float8:
        return "float8";
    case ValueType::text:
        return "text";
    case ValueType::boolean:
        return "boolean";
    case ValueType::jsonb:
        return "jsonb";
    }
    return {};
}

std::uint64_t Random::next() {
    std::uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return mixed ^ mixed >> 31;
}

std::int64_t Random::integer(std::int64_t low, std::int64_t high) {
    const std::uint64_t count = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1;
    std::uint64_t number = next();
    if (count != 0) { // 0: all 2^64 numbers
        // The first 2^64 mod count numbers would make some results more likely: draw again.
        const std::uint64_t surplus = (0 - count) % count;
        while (number < surplus)
            number = next();
        number %= count;
    }
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + number);
}

double Random::unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

Value Generator::produce(std::int64_t sequence, Random &random) const {
    switch (kind) {
    case Kind::sequence:
        return sequence;
    case Kind::random_int:
        return random.integer(int_low, int_high);
    case Kind::random_double:
        return between(double_low, double_high, random.unit());
    case Kind::constant:
        return values.front();
    case Kind::random_choice:
        return values[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(values.size()) - 1))];
    case Kind::random_string: {
        std::string text(static_cast<std::size_t>(int_high), ' ');
        for (char &c : text)
            c = alphabet[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(alphabet.size()) - 1))];
        return text;
    }
    }
    return std::monostate();
}

Result<Generator> parse_generator(std::string_view text) {
    text = trim(text);
    const std::size_t bracket = text.find('(');
    Argument argument;
    if (bracket != std::string_view::npos) {
        if (text.back() != ')')
            return problem<Generator>("the closing bracket is missing");
        argument = trim(text.substr(bracket + 1, text.size() - bracket - 2));
    }
    const std::string_view name = trim(text.substr(0, bracket));
    for (const NamedParser &parser : parsers)
        if (parser.name == name)
            return parser.parse(argument);
    std::string known;
    for (const NamedParser &parser : parsers)
        known += (known.empty() ? "" : ", ") + std::string(parser.name);
    return problem<Generator>("\"" + std::string(beginning(name, 40)) + "\" is no generator; there are " + known);
}

Result<std::int64_t> sequence_count(std::int64_t start, std::int64_t end, std::int64_t step) {
    if (step == 0)
        return problem<std::int64_t>("step must not be 0");
    if (step > 0 ? start > end : start < end)
        return ok<std::int64_t>(0);
    const auto low = static_cast<std::uint64_t>(std::min(start, end));
    const auto high = static_cast<std::uint64_t>(std::max(start, end));
    const auto stride = static_cast<std::uint64_t>(step);
    const std::uint64_t steps = (high - low) / (step > 0 ? stride : 0 - stride);
    if (steps >= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        return problem<std::int64_t>("the sequence has more rows than a bigint counts");
    return ok(static_cast<std::int64_t>(steps) + 1);
}

std::int64_t sequence_value(std::int64_t start, std::int64_t step, std::int64_t row) {
    // The product may pass 64 bits though the sum does not; unsigned arithmetic wraps both.
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(start) +
                                     static_cast<std::uint64_t>(step) * static_cast<std::uint64_t>(row));
}

} // namespace chronicle::core
