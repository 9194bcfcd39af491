// Users' SQL in nodes: named parameters, relations by name, rows out.
#pragma once

#include "core/json.hpp"

#include "flow/rows.hpp"

namespace chronicle::flow {

/// What a statement may refer to by name besides the database's own tables.
class NamedRelations {
public:
    virtual ~NamedRelations() = default;
    /// The relation of this name when there is one: `input`, or a finished ancestor. Loaded when first asked for.
    virtual const Rows *find(const std::string &name) = 0;
};

/// A statement's result. Without columns it returned none (an INSERT without RETURNING, say).
struct StatementResult {
    std::optional<Rows> rows;
    int64 touched = 0;
};

/// Runs one statement as the current user: `:name` becomes a bound parameter for every name in `parameters` (an
/// object), `IN (:list)` works for arrays; relations that the text mentions are registered.
/// 42601 for more than one statement or none.
StatementResult run_statement(const std::string &sql, const core::json &parameters, NamedRelations &relations);

} // namespace chronicle::flow
