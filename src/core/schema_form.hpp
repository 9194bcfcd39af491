// A JSON Schema (draft 7) checked and brought into a form that a validator can run safely.
//
// Every subschema becomes one entry of a flat list; where another subschema stood, a reference to its entry stands. In
// this form nothing is nested, no reference leads elsewhere, and each entry begins with a keyword of ours that the
// validator calls before it does anything else: so its recursion and its time are ours to bound.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/json.hpp"
#include "core/pattern.hpp"

namespace chronicle::core {

/// What is wrong, and where: with a schema, or with a value that it refuses.
struct SchemaFault {
    std::string path; ///< $.a.b[2]
    std::string reason;
};

struct SchemaForm {
    /// {"allOf": [{"$ref": "#/definitions/0"}], "definitions": {"0": …}}
    json document;
    /// The regular expressions in it, compiled.
    std::map<std::string, Pattern> patterns;
};

// Keywords of ours in the form: called first in each entry; and in place of keywords that the library does in its own
// way (quadratic, or in binary fractions).
inline constexpr const char *guard_keyword = "chronicle:guard";
inline constexpr const char *unique_keyword = "chronicle:uniqueItems";
inline constexpr const char *multiple_keyword = "chronicle:multipleOf";
inline constexpr const char *format_keyword = "chronicle:format";

/// Numbers as the library wants them: exact ones become doubles, whole ones integers (in JSON Schema 1.0 is one).
json plain_numbers(json value);

/// \param fault where there is none: the first thing that is wrong with the schema
std::optional<SchemaForm> make_schema_form(const json &schema, SchemaFault &fault);

} // namespace chronicle::core
