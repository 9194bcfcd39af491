// Who may do what (contract, section 9), and the identity under which the engine works on its own tables.
#pragma once

#include "pg/spi.hpp"
#include "pg/xact.hpp"

#include <set>

namespace chronicle::access {

/// Cumulative: each has what the ones before it have.
enum class Level { none, reader, writer, operator_, admin };

/// The level of a role in this database: the highest row of any role whose privileges it has.
Level level_of(Oid role);
/// 42501 unless the current user has the level; `doing` ends the sentence "permission denied to …".
void require(Level level, const char *doing);
/// The current user's right to a category: by its level (reader, writer), or by a grant of this category
/// (grant_category), given to it or to a role whose privileges it has. For users' categories; the events of runs
/// (category "workflow") go by the rights on the run.
bool may_read(std::string_view category);
bool may_append(std::string_view category);
/// The same for one stream. What happened to a stream ($streams-<name>) is seen by those who see the stream.
bool may_read_stream(std::string_view stream);
/// The categories that the current user was granted to read; nothing when its level lets it read them all.
std::optional<std::set<std::string, std::less<>>> readable_categories();
/// 42501 unless the current user may. The message and its hint name the category, which the caller named.
void require_read(std::string_view category);
void require_read_stream(std::string_view stream); // whether it is there or not: the answer does not tell
void require_append(std::string_view category);
/// 42501 unless the current user may read some category.
void require_read_any();

/// True when the current user may act for this owner: it has the role's privileges, or is an admin.
bool may_act_for(const std::string &owner);
/// True when the current user has the role's privileges. What one gives to an owner to run needs this: being an admin
/// of chronicle is not being every role.
bool may_run_as(const std::string &owner);

/// The name as quoted text, for a hint that works as it stands.
std::string quoted(const std::string &text);

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
/// security-restricted operation, with a nest level of settings of its own and the search_path that is kept, the
/// temporary schema last. Without one (code that brings its own scopes, or the caller's own): a safe one, if the owner
/// is not the caller. Whatever the code sets is undone at the end of the scope.
class OwnerScope {
public:
    explicit OwnerScope(Oid owner, const std::optional<std::string> &search_path = std::nullopt);

private:
    pg::UserScope user_;
    pg::GucScope settings_;
    pg::SnapshotScope snapshot_;
};

} // namespace chronicle::access
