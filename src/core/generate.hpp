// Rows of sequence.numbers: the sequence itself, and the generators of its `fields`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/json.hpp"
#include "core/result.hpp"

namespace chronicle::core {

/// The type of a generated column, named as in PostgreSQL.
enum class ValueType : std::uint8_t { bigint, float8, text, boolean, jsonb };

/// "bigint", "float8", "text", "boolean", "jsonb".
std::string_view type_name(ValueType type);

/// A generated value; jsonb travels as its text, monostate is NULL.
using Value = std::variant<std::monostate, std::int64_t, double, std::string, bool>;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014):
/// small, and the same sequence on every platform. Not for secrets.
struct Random {
    std::uint64_t state = 0;

    std::uint64_t next();
    /// Uniform in low … high, both included; low <= high.
    std::int64_t integer(std::int64_t low, std::int64_t high);
    /// Uniform in [0, 1).
    double unit();
};

struct Generator {
    enum class Kind : std::uint8_t {
        sequence,
        random_string,
        random_int,
        random_double,
        random_choice,
        constant,
    };

    Kind kind = Kind::sequence;
    ValueType type = ValueType::bigint;
    std::int64_t int_low = 0, int_high = 0; ///< random_int; int_high is random_string's length
    double double_low = 0, double_high = 0; ///< random_double
    std::vector<Value> values = {}; ///< random_choice; one for constant

    /// The value of one row.
    /// \param sequence the row's number in the sequence (sequence_value)
    Value produce(std::int64_t sequence, Random &random) const;
};

/// Parses a generator: sequence · random_string · random_string(n) · random_int(a, b) ·
/// random_double(a, b) · random_choice(['x', 'y']) · constant(v). A literal is a JSON value, or text
/// in single quotes ('' stands for one quote); constant also takes a bare word as text.
/// random_double gives a value in [a, b), random_int in a … b.
Result<Generator> parse_generator(std::string_view text);

/// How many rows start, start + step, … give without passing end. 0 when end lies on the other side.
/// Problem: step is 0, or more rows than a bigint counts.
Result<std::int64_t> sequence_count(std::int64_t start, std::int64_t end, std::int64_t step);

/// Row \p row (from 0) of the sequence; row < sequence_count(…), so it cannot overflow.
std::int64_t sequence_value(std::int64_t start, std::int64_t step, std::int64_t row);

} // namespace chronicle::core
