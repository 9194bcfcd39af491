// Who may do what (contract, section 9), and the identity under which the engine works on its own tables.
#pragma once

#include "pg/spi.hpp"
#include "pg/xact.hpp"

namespace chronicle::access {

/// Cumulative: each has what the ones before it have.
enum class Level { none, reader, writer, operator_, admin };

/// The level of a role in this database: the highest row of any role whose privileges it has.
Level level_of(Oid role);
/// 42501 unless the current user has the level; `doing` ends the sentence "permission denied to …".
void require(Level level, const char *doing);
/// True when the current user may act for this owner: it has the role's privileges, or is an admin.
bool may_act_for(const std::string &owner);

/// The engine's own statements: as the extension's owner, with a search_path that nobody else can fill, connected to
/// SPI. User code never runs inside.
class EngineScope {
public:
    EngineScope();

private:
    pg::UserScope user_;
    pg::GucScope settings_;
    pg::SnapshotScope snapshot_;
    pg::Spi spi_;
};

/// The OID of a role by its stored name; InvalidOid when it does not exist (any more).
Oid find_role(const std::string &name);

/// Users' code (validators, upcasters, apply, decide, handlers) as the owner of the object that it belongs to: a
/// security-restricted operation, with a nest level of settings of its own and the owner's search_path, if one is kept.
/// Whatever the code sets is undone at the end of the scope.
class OwnerScope {
public:
    explicit OwnerScope(Oid owner, const std::optional<std::string> &search_path = std::nullopt);

private:
    pg::UserScope user_;
    pg::GucScope settings_;
    pg::SnapshotScope snapshot_;
};

} // namespace chronicle::access
