// The launcher: one per server, connected to no database. It starts a scheduler for each database that may have the
// extension, once; the scheduler looks, and leaves when it has not. States: README.md.
//
// It is told (latch) of: CREATE EXTENSION, CREATE DATABASE, work for a database without a scheduler, a changed setting,
// a scheduler's end. Looking at pg_database once a minute is a net below that.
//
// Crash: the postmaster starts it anew, with empty shared memory: every database is looked at again.
#include "worker/process.hpp"
#include "worker/registry.hpp"

#include "compat/compat.hpp"
#include "pg/latch.hpp"
#include "pg/memory.hpp"
#include "pg/xact.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "pgstat.h"
#include "storage/ipc.h"
}

namespace chronicle::worker {

namespace {

constexpr long look_interval_ms = 60000;
constexpr long retry_ms = 5000;
constexpr int max_known = 4096;

// Databases that this launcher has started a scheduler for at least once (sorted).
std::vector<Oid> *known;

void on_exit(int, Datum) {
    RegistryLock lock;
    if (shared().launcher_pid == MyProcPid) {
        shared().launcher_pid = 0;
        shared().launcher_process = -1;
    }
}

void announce_self() {
    before_shmem_exit(on_exit, Datum(0));
    RegistryLock lock;
    shared().launcher_pid = MyProcPid;
    shared().launcher_process = compat::my_proc_number();
    shared().launcher_started_at = GetCurrentTimestamp();
    shared().new_database = true;
}

// OIDs of the databases that accept connections and are no templates.
int list_databases(Oid *found, int capacity) noexcept {
    int count = 0;
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    HeapTuple tuple;
    while (count < capacity && HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection))) {
        Form_pg_database database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        if (database->datallowconn && !database->datistemplate)
            found[count++] = database->oid;
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    return count;
}

// Slots of dropped databases become free; new databases are wanted once.
void look_for_databases() {
    static Oid found[max_known];
    pg::start_transaction();
    int count = pg::call([]() noexcept { return list_databases(found, max_known); });
    pg::commit_transaction();
    std::vector<Oid> now(found, found + count);
    std::sort(now.begin(), now.end());

    RegistryLock lock;
    for (int i = 0; i < shared().databases; i++) {
        DatabaseSlot &d = database_slot(i);
        if (OidIsValid(d.database) && d.pid == 0 && !std::binary_search(now.begin(), now.end(), d.database))
            d.database = InvalidOid;
    }
    for (Oid database : now)
        if (!std::binary_search(known->begin(), known->end(), database))
            if (DatabaseSlot *d = find_database(database, true))
                d->wanted = true;
    *known = std::move(now);
}

struct Running {
    Oid database;
    BackgroundWorkerHandle *handle;
};
std::vector<Running> *running;

bool start_scheduler(Oid database) {
    BackgroundWorker worker = describe_worker("chronicle scheduler", "chronicle_scheduler_main");
    worker.bgw_main_arg = ObjectIdGetDatum(database);
    BackgroundWorkerHandle *handle = start_worker(worker);
    if (handle)
        running->push_back({database, handle});
    return handle != nullptr;
}

void set_wanted(Oid database, bool wanted) {
    RegistryLock lock;
    DatabaseSlot *d = find_database(database, false);
    if (!d)
        return;
    d->wanted = wanted;
    d->restart = false; // it reads the settings when it connects
}

// Starts what is wanted; true when something has to be tried again soon.
bool start_wanted() {
    std::vector<Oid> todo;
    bool again = false;
    {
        RegistryLock lock;
        for (int i = 0; i < shared().databases; i++) {
            DatabaseSlot &d = database_slot(i);
            if (!OidIsValid(d.database) || !d.wanted || d.holds > 0 || d.pid != 0)
                continue;
            if (d.not_before > GetCurrentTimestamp())
                again = true;
            else
                todo.push_back(d.database);
        }
    }
    for (Oid database : todo) {
        if (std::any_of(running->begin(), running->end(), [&](const Running &r) { return r.database == database; }))
            continue; // on its way up, or down
        set_wanted(database, false); // first: what is asked for from now on is about the one that starts
        if (!start_scheduler(database)) {
            set_wanted(database, true);
            again = true;
        }
    }
    return again;
}

// Forgets schedulers that ended. One that failed is wanted again, after a pause.
void reap() {
    for (size_t i = 0; i < running->size();) {
        pid_t pid;
        BackgroundWorkerHandle *handle = (*running)[i].handle;
        if (pg::call([&]() noexcept { return GetBackgroundWorkerPid(handle, &pid); }) != BGWH_STOPPED) {
            i++;
            continue;
        }
        Oid database = (*running)[i].database;
        pfree(handle);
        running->erase(running->begin() + static_cast<long>(i));
        RegistryLock lock;
        DatabaseSlot *d = find_database(database, false);
        if (d && d->outcome == Outcome::failed) {
            d->wanted = true;
            d->outcome = Outcome::none;
            d->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), retry_ms);
        }
    }
}

void run() {
    set_signal_handlers(nullptr);
    pg::call([]() noexcept { BackgroundWorkerInitializeConnection(nullptr, nullptr, 0); });
    announce_self();
    known = new std::vector<Oid>();
    running = new std::vector<Running>();
    uint32 event = compat::wait_event("ChronicleLauncher");
    bool look = true;
    for (;;) {
        reap();
        if (reload_if_asked()) {
            known->clear(); // chronicle.workers may be on now
            look = true;
        }
        {
            RegistryLock lock;
            look |= shared().new_database;
            shared().new_database = false;
        }
        if (look)
            look_for_databases();
        bool again = start_wanted();
        pg::call([]() noexcept { pgstat_report_activity(STATE_IDLE, nullptr); });
        look = !pg::wait_latch(again ? retry_ms : look_interval_ms, event);
    }
}

} // namespace

extern "C" PGDLLEXPORT void chronicle_launcher_main(Datum) {
    pg::entry([]() { run(); });
}

// CREATE EXTENSION calls this: when it commits, the launcher looks at this database.
CHRONICLE_FUNCTION(chronicle_wake_launcher) {
    announce_database();
    PG_RETURN_VOID();
}

} // namespace chronicle::worker
