// The module: settings, hooks, shared memory, launcher, in that order.
#include "command/retention.hpp"
#include "flow/definition.hpp"
#include "flow/retention.hpp"
#include "flow/schedule.hpp"
#include "flow/source.hpp"
#include "flow/trigger.hpp"
#include "pg/postgres.hpp"
#include "projection/manage.hpp"
#include "projection/source.hpp"
#include "settings.hpp"
#include "state/aggregate.hpp"
#include "state/idle.hpp"
#include "state/snapshot.hpp"
#include "store/floor.hpp"
#include "store/head.hpp"
#include "store/order.hpp"
#include "store/scavenge.hpp"
#include "store/scan.hpp"
#include "worker/ddl.hpp"
#include "worker/process.hpp"
#include "worker/registry.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

PG_MODULE_MAGIC;
}

namespace {

shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

void request_shared_memory() {
    if (previous_request)
        previous_request();
    RequestAddinShmemSpace(chronicle::store::order::shared_size() + chronicle::store::heads_shared_size() +
                           chronicle::worker::shared_size());
}

void init_shared_memory() {
    if (previous_startup)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    chronicle::store::order::init_shared();
    chronicle::store::init_heads_shared();
    chronicle::worker::init_shared();
    LWLockRelease(AddinShmemInitLock);
}

} // namespace

extern "C" PGDLLEXPORT void _PG_init() {
    if (!process_shared_preload_libraries_in_progress)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("chronicle must be loaded when the server starts"),
                 errhint("Add chronicle to shared_preload_libraries in postgresql.conf and restart the server.")));
    chronicle::settings::define();
    chronicle::worker::init_announcements();
    chronicle::flow::init_source();
    chronicle::flow::init_owned();
    chronicle::worker::add_chore(chronicle::flow::fire_schedules);
    chronicle::worker::add_chore(chronicle::flow::remove_expired_runs);
    chronicle::worker::add_chore(chronicle::command::remove_old_commands);
    chronicle::worker::add_chore(chronicle::store::scavenge_in_background);
    chronicle::worker::add_chore(chronicle::store::note_floor);
    chronicle::flow::init_triggers();
    chronicle::projection::init();
    chronicle::projection::init_owned();
    chronicle::worker::init_ddl_hook();
    chronicle::store::init_scan();
    chronicle::state::init_owned();
    chronicle::state::init_snapshots();
    chronicle::state::init_idle_snapshots();
    chronicle::state::init_bases();
    previous_request = shmem_request_hook;
    shmem_request_hook = request_shared_memory;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = init_shared_memory;
    if (!IsBinaryUpgrade)
        chronicle::worker::register_launcher();
}

// The install script calls it first: it shows that this library was preloaded, and that the database can hold our texts
// (names and JSON are UTF-8).
CHRONICLE_FUNCTION(chronicle_require_preload) {
    if (GetDatabaseEncoding() != PG_UTF8)
        chronicle::pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                             {.message = std::string("chronicle needs a database with encoding UTF8, this one has ") +
                                         GetDatabaseEncodingName(),
                              .hint = "Create one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."});
    PG_RETURN_VOID();
}
