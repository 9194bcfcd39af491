// Which errors of users' functions are theirs to be told of, and which must end the statement.
#pragma once

#include "pg/error.hpp"

namespace chronicle::state {

/// Cancel, shutdown, what a repetition of the transaction cures, and what is wrong with the server: nobody may catch
/// it.
inline bool must_pass(const pg::Error &error) {
    std::string code = error.sqlstate_text();
    return error.is_transient() || code.starts_with("40") || code.starts_with("53") || code.starts_with("57") ||
           code.starts_with("58");
}

} // namespace chronicle::state
