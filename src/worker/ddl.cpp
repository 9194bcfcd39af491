// DROP, RENAME and MOVE DATABASE, CREATE DATABASE … TEMPLATE and DROP EXTENSION chronicle must not wait for our
// workers, nor fail because of them. Before such a statement runs, the database is held (nothing is started in it), its
// workers are ended, and their ends are awaited; the hold goes with the transaction, and the launcher starts them again
// if the database is still there. What they ran is taken up again, and does not count as lost.
//
// Only for those who may do the statement at all: others get PostgreSQL's error, and disturb nobody. That goes for
// users' code in an executor, too: PostgreSQL refuses to drop, rename or move the database that one is in, and we DROP
// EXTENSION. (It would end its own process, and be repeated for ever.) Crash: holds live in shared memory and go with
// it; a session that dies by FATAL releases its own in on_exit().
#include "worker/ddl.hpp"

#include "compat/compat.hpp"
#include "pg/guard.hpp"
#include "worker/executor.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include <signal.h>
}

namespace chronicle::worker {

namespace {

constexpr int patience_ms = 10000;

ProcessUtility_hook_type previous_hook = nullptr;
uint64 constraint_statements = 0;

// What this session holds until its transaction ends.
constexpr int held_capacity = 8;
Oid held[held_capacity];
int held_count = 0;
bool exit_registered = false;

void release_all() {
    if (held_count == 0)
        return;
    RegistryLock lock;
    for (int i = 0; i < held_count; i++)
        if (DatabaseSlot *d = find_database(held[i], false)) {
            d->holds--;
            d->wanted = true;
        }
    held_count = 0;
    shared().new_database = true;
    wake(shared().launcher_process);
}

void on_transaction(XactEvent event, void *) {
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
        release_all();
}

void on_exit(int, Datum) { release_all(); }

// Ends the workers of a database; true when none is left. Under the lock.
bool end_workers(Oid database, bool signal_them) {
    bool none = true;
    DatabaseSlot *d = find_database(database, false);
    if (d && d->pid != 0) {
        none = false;
        if (signal_them)
            kill(d->pid, SIGTERM);
    }
    for (int i = 0; i < shared().executors; i++) {
        ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::free || e.database != database)
            continue;
        if (e.pid == 0) { // registered, not up yet: it will find its slot gone
            e.state = ExecutorState::free;
            continue;
        }
        none = false;
        e.excused = true;
        if (signal_them)
            kill(e.pid, SIGTERM);
    }
    return none;
}

// Interrupts are served while it waits: the statement can be cancelled.
void hold(Oid database) {
    if (!OidIsValid(database) || held_count == held_capacity || (is_executor() && database == MyDatabaseId))
        return;
    if (!exit_registered) {
        before_shmem_exit(on_exit, Datum(0));
        exit_registered = true;
    }
    bool none;
    {
        RegistryLock lock;
        DatabaseSlot *d = find_database(database, true);
        if (!d)
            return;
        d->holds++;
        held[held_count++] = database;
        none = end_workers(database, true);
    }
    uint32 event = compat::wait_event("ChronicleHold");
    TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), patience_ms);
    ConditionVariablePrepareToSleep(&shared().changed);
    while (!none && GetCurrentTimestamp() < until) {
        ConditionVariableTimedSleep(&shared().changed, 100, event);
        RegistryLock lock;
        none = end_workers(database, false);
    }
    ConditionVariableCancelSleep();
}

void hold_by_name(const char *name) {
    Oid database = get_database_oid(name, true);
    if (OidIsValid(database) && compat::owns_database(database, GetUserId()))
        hold(database);
}

const char *template_of(const CreatedbStmt *statement) {
    ListCell *cell;
    foreach (cell, statement->options) {
        DefElem *option = lfirst_node(DefElem, cell);
        if (strcmp(option->defname, "template") == 0 && option->arg)
            return defGetString(option);
    }
    return nullptr;
}

bool drops_chronicle(const DropStmt *statement) {
    if (statement->removeType != OBJECT_EXTENSION)
        return false;
    ListCell *cell;
    foreach (cell, statement->objects)
        if (strcmp(strVal(lfirst(cell)), "chronicle") == 0)
            return true;
    return false;
}

void before_drop_extension() {
    if (is_executor())
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a worker of chronicle cannot drop chronicle"),
                        errhint("Drop it in a session of your own.")));
    if (superuser())
        hold(MyDatabaseId);
}

bool has_option(const AlterDatabaseStmt *statement, const char *name) {
    ListCell *cell;
    foreach (cell, statement->options)
        if (strcmp(lfirst_node(DefElem, cell)->defname, name) == 0)
            return true;
    return false;
}

void before_alter_database(const AlterDatabaseStmt *statement) {
    if (has_option(statement, "tablespace"))
        hold_by_name(statement->dbname);
    else if (has_option(statement, "is_template")) // a template has no workers
        announce_restart(get_database_oid(statement->dbname, true));
}

void before(Node *statement) {
    switch (nodeTag(statement)) {
    case T_DropdbStmt:
        hold_by_name(reinterpret_cast<DropdbStmt *>(statement)->dbname);
        break;
    case T_CreatedbStmt:
        if (const char *name = template_of(reinterpret_cast<CreatedbStmt *>(statement)))
            hold_by_name(name);
        announce_database();
        break;
    case T_RenameStmt:
        if (reinterpret_cast<RenameStmt *>(statement)->renameType == OBJECT_DATABASE)
            hold_by_name(reinterpret_cast<RenameStmt *>(statement)->subname);
        break;
    case T_AlterDatabaseStmt:
        before_alter_database(reinterpret_cast<AlterDatabaseStmt *>(statement));
        break;
    case T_AlterDatabaseSetStmt:
        announce_restart(get_database_oid(reinterpret_cast<AlterDatabaseSetStmt *>(statement)->dbname, true));
        break;
    case T_DropStmt:
        if (drops_chronicle(reinterpret_cast<DropStmt *>(statement)))
            before_drop_extension();
        break;
    case T_ConstraintsSetStmt:
        constraint_statements++;
        break;
    default:
        break;
    }
}

// A hook in C: it holds no C++ object over a call that may raise.
void on_utility(PlannedStmt *planned, const char *query, bool read_only, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination,
                QueryCompletion *completion) {
    if (IsTransactionState() && !IsAbortedTransactionBlockState())
        before(planned->utilityStmt);
    (previous_hook ? previous_hook : standard_ProcessUtility)(planned, query, read_only, context, parameters,
                                                              environment, destination, completion);
}

} // namespace

std::uint64_t set_constraints_count() { return constraint_statements; }

void init_ddl_hook() {
    previous_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
    RegisterXactCallback(on_transaction, nullptr);
}

} // namespace chronicle::worker
