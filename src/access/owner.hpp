// Objects that belong to a role and run its code: what set_owner gives to another one.
#pragma once

#include "access/access.hpp"

namespace chronicle::access {

struct OwnedKind {
    const char *kind; // as set_owner names it
    /// The owner of the object; nothing: there is none of this name.
    std::optional<std::string> (*owner_of)(const std::string &name);
    /// False when `former` owns it no more. In the caller's identity.
    bool (*give)(const std::string &name, const std::string &former, const std::string &role);
};

/// In _PG_init.
void add_owned_kind(const OwnedKind &kind);

} // namespace chronicle::access
