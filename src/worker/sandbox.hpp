// The surroundings of users' code in an executor: identity, settings, and nothing left behind.
#pragma once

#include "pg/xact.hpp"

namespace chronicle::worker {

/// For one node. While it lives, the current user is the owner (it is the session itself, or a security-restricted
/// operation where the owner cannot log in), search_path is the definition's, and whatever the code sets is undone at
/// the end.
class Sandbox {
public:
    Sandbox(Oid owner, const std::string &search_path);

private:
    std::optional<pg::UserScope> user_;
    pg::GucScope settings_;
    pg::SnapshotScope snapshot_;
};

/// Takes away what a transaction does not: held cursors, temporary tables, prepared statements, session advisory locks,
/// sequence caches. After each node and each batch of a projection, in a valid transaction.
void clean_session();

} // namespace chronicle::worker
