// JSON Schema, draft 7, by the library valijson.
#pragma once

#include <memory>

#include "core/schema_form.hpp"

namespace chronicle::core {

/// A compiled schema. Checking recurses as deep as the value and the schema together; the guard is called before each
/// step down and now and then by long work, and may throw (a stack that is too deep, a cancel): that passes through.
class Schema {
public:
    /// Nothing: `fault` says why. Draft 7 only; references within the schema only.
    static std::optional<Schema> compile(const json &document, Guard guard, SchemaFault &fault);
    /// What is wrong with the value; nothing: it is valid.
    std::optional<SchemaFault> check(const json &value, Guard guard) const;

    Schema(Schema &&) noexcept;
    Schema &operator=(Schema &&) noexcept;
    ~Schema();

private:
    struct Compiled;
    explicit Schema(std::unique_ptr<Compiled> compiled);
    std::unique_ptr<Compiled> compiled_;
};

} // namespace chronicle::core
