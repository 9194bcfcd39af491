// JSON text of PostgreSQL's as the core's value.
#pragma once

#include "core/json.hpp"

#include "pg/guard.hpp"

namespace chronicle::flow {

/// 54000 for what jsonb holds and the core does not read: nesting beyond 512 levels, numbers beyond a double.
inline core::json to_json(const std::string &text) {
    core::Result<core::json> parsed = core::parse_json(text);
    if (!parsed)
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = "chronicle cannot read this JSON: " + parsed.problem});
    return *std::move(parsed.value);
}

} // namespace chronicle::flow
