// The rows of view workers.
#include "access/access.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/tuplestore.h"
}

namespace chronicle::worker {

namespace {

struct Line {
    pid_t pid;
    Oid database;
    const char *role;
    Oid owner;
    const char *state;
    std::optional<pg::Uuid> execution;
    std::string node;
    TimestampTz started_at;
    int64 nodes_run;
};

const char *state_name(ExecutorState state) {
    switch (state) {
    case ExecutorState::starting:
        return "starting";
    case ExecutorState::idle:
        return "idle";
    case ExecutorState::busy:
        return "busy";
    case ExecutorState::free:
        break;
    }
    return "free";
}

// A copy, so that nothing is looked up under the lock.
std::vector<Line> copy_registry() {
    std::vector<Line> lines;
    lines.reserve(static_cast<size_t>(1 + shared().databases + shared().executors));
    RegistryLock lock;
    const Shared &s = shared();
    if (s.launcher_pid != 0)
        lines.push_back({s.launcher_pid, InvalidOid, "launcher", InvalidOid, "idle", {}, "", s.launcher_started_at, 0});
    for (int i = 0; i < s.databases; i++) {
        const DatabaseSlot &d = database_slot(i);
        if (OidIsValid(d.database) && d.pid != 0)
            lines.push_back({d.pid, d.database, "scheduler", InvalidOid, "idle", {}, "", d.started_at, 0});
    }
    for (int i = 0; i < s.executors; i++) {
        const ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::free || e.pid == 0)
            continue;
        bool busy = e.state == ExecutorState::busy && e.node[0] != '\0';
        lines.push_back({e.pid, e.database, "executor", e.role, state_name(e.state),
                         busy && e.execution != pg::Uuid{} ? std::optional(e.execution) : std::nullopt,
                         busy ? e.node : "", e.started_at, e.nodes_run});
    }
    return lines;
}

void put(ReturnSetInfo *result, const Line &line) {
    const char *database =
        pg::call([&]() noexcept { return OidIsValid(line.database) ? get_database_name(line.database) : nullptr; });
    const char *owner =
        pg::call([&]() noexcept { return OidIsValid(line.owner) ? GetUserNameFromId(line.owner, true) : nullptr; });
    Datum values[] = {Int32GetDatum(line.pid),      database ? pg::make_text(database) : Datum(0),
                      pg::make_text(line.role),     owner ? pg::make_text(owner) : Datum(0),
                      pg::make_text(line.state),    line.execution ? pg::make_uuid(*line.execution) : Datum(0),
                      pg::make_text(line.node),     TimestampTzGetDatum(line.started_at),
                      Int64GetDatum(line.nodes_run)};
    bool nulls[] = {false, !database, false, !owner, false, !line.execution, line.node.empty(), false, false};
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

// Admins and members of pg_monitor; others see the executors of their own roles.
bool sees_all() {
    if (access::level_of(GetUserId()) == access::Level::admin)
        return true;
    return pg::call([]() noexcept { return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR); });
}

} // namespace

CHRONICLE_FUNCTION(chronicle_workers) {
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    bool all = sees_all();
    for (const Line &line : copy_registry())
        if (all ||
            (OidIsValid(line.owner) && pg::call([&]() noexcept { return has_privs_of_role(GetUserId(), line.owner); })))
            put(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), line);
    PG_RETURN_NULL();
}

} // namespace chronicle::worker
