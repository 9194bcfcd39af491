// The scheduler: one per database that has the extension, connected as the bootstrap superuser. It runs no user code.
// It keeps enough executors for the owners that have work (source.hpp), has taken back what dead executors ran, and
// promoted what is due. States: README.md.
//
// Exactly one per database: it holds a session lock (LockKind::scheduler), and leaves when another one has it.
// Crash: its executors go on; the launcher starts another one, which finds them in shared memory.
#include "catalog/objects.hpp"
#include "compat/compat.hpp"
#include "pg/latch.hpp"
#include "pg/lock.hpp"
#include "pg/spi.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"
#include "worker/process.hpp"
#include "worker/registry.hpp"
#include "worker/source.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "access/htup_details.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace chronicle::worker {

namespace {

constexpr long look_interval_ms = 10000;
constexpr long look_pause_us = 3000; // between two looks
constexpr long full_retry_ms = 200;
constexpr int start_failure_limit = 3;

Outcome leaving_as = Outcome::failed; // until we know better: whatever ends us is a failure
bool starving = false;
bool waiting[max_sources] = {};
Oid extension = InvalidOid;

void set_starving(bool now) { // under the lock
    if (now != starving)
        shared().starving += now ? 1 : -1;
    starving = now;
}

void set_waiting(int source, bool now) { // under the lock
    if (now != waiting[source])
        shared().waiting[source] += now ? 1 : -1;
    waiting[source] = now;
}

void on_exit(int, Datum) {
    RegistryLock lock;
    set_starving(false);
    for (int i = 0; i < source_count(); i++)
        set_waiting(i, false);
    DatabaseSlot *d = find_database(MyDatabaseId, false);
    if (d && d->pid == MyProcPid) {
        d->pid = 0;
        d->process = -1;
        d->outcome = d->holds > 0 || d->restart ? Outcome::none : leaving_as;
        if (d->holds > 0 || d->restart)
            d->wanted = true;
        d->restart = false;
    }
    ConditionVariableBroadcast(&shared().changed);
    wake(shared().launcher_process);
}

// The slot becomes ours; false when this database is being dropped, or has a scheduler.
bool take_slot() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, true);
    if (!d || d->pid != 0 || d->holds > 0) {
        if (d && d->holds > 0)
            d->wanted = true;
        return false;
    }
    d->pid = MyProcPid;
    d->process = compat::my_proc_number();
    d->outcome = Outcome::none;
    d->started_at = GetCurrentTimestamp();
    d->check_leases = true;
    return true;
}

// --- executors of this database ---

struct Starting {
    int slot;
    uint64 generation;
    std::string owner;
    BackgroundWorkerHandle *handle;
};
std::vector<Starting> *children;
std::unordered_map<std::string, int> *start_failures;

struct Owner {
    Oid role = InvalidOid;
    bool may_log_in = false;
    bool may_connect = false;
};

Owner look_up_owner(const std::string &name) {
    struct Plain {
        Oid role;
        bool login, connect;
    };
    const char *text = name.c_str();
    Plain found = pg::call([&]() noexcept {
        Plain p{};
        HeapTuple tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(text));
        if (!HeapTupleIsValid(tuple))
            return p;
        Form_pg_authid role = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple));
        p = {role->oid, role->rolcanlogin, compat::may_connect(MyDatabaseId, role->oid)};
        ReleaseSysCache(tuple);
        return p;
    });
    return {found.role, found.login, found.connect};
}

// Executors of one owner here: all, those that look for work or soon will, and those that are at work, by source.
struct Staff {
    int all = 0, waiting = 0;
    int busy[max_sources] = {};
};

Staff staff_of(Oid role) {
    Staff staff;
    RegistryLock lock;
    for (int i = 0; i < shared().executors; i++) {
        const ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::free || e.database != MyDatabaseId || e.role != role)
            continue;
        staff.all++;
        e.state == ExecutorState::busy ? staff.busy[e.source]++ : staff.waiting++;
    }
    return staff;
}

// A net below the announcements: idle executors look again.
void wake_idle(Oid role) {
    RegistryLock lock;
    for (int i = 0; i < shared().executors; i++) {
        const ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::idle && e.database == MyDatabaseId && e.role == role)
            wake(e.process);
    }
}

// A free slot, prepared for a new executor; -1: all are taken, and an idle one of somebody else was asked to go.
int prepare_slot(Oid role, uint64 *generation) {
    RegistryLock lock;
    int idle_other = -1;
    for (int i = 0; i < shared().executors; i++) {
        ExecutorSlot &e = executor_slot(i);
        if (e.state == ExecutorState::idle && (e.database != MyDatabaseId || e.role != role))
            idle_other = i;
        if (e.state != ExecutorState::free)
            continue;
        e.state = ExecutorState::starting;
        e.database = MyDatabaseId;
        e.role = role;
        e.generation = *generation = shared().next_generation++;
        e.leave = e.excused = e.connected = false;
        e.follows = 0;
        e.attends_until = 0;
        e.source = 0;
        e.reserved_count = 0;
        e.pid = 0;
        e.process = -1;
        e.node[0] = '\0';
        return i;
    }
    if (idle_other >= 0) {
        executor_slot(idle_other).leave = true;
        wake(executor_slot(idle_other).process);
    }
    return -1;
}

void free_slot(int slot, uint64 generation) {
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(slot);
    if (e.generation != generation || e.state == ExecutorState::free)
        return;
    e.state = ExecutorState::free;
    e.last_generation = generation;
    e.last_excused = e.last_lost = false;
    e.pid = 0;
    e.process = -1;
}

// False when there is no slot, or no worker, to be had now.
bool start_executor(const std::string &name, const Owner &owner) {
    uint64 generation;
    int slot = prepare_slot(owner.role, &generation);
    if (slot < 0)
        return false;
    BackgroundWorker worker = describe_worker("chronicle executor", "chronicle_executor_main");
    worker.bgw_main_arg = Int32GetDatum(slot);
    memcpy(worker.bgw_extra, &generation, sizeof(generation));
    worker.bgw_extra[sizeof(generation)] = owner.may_log_in;
    BackgroundWorkerHandle *handle = start_worker(worker);
    if (!handle) {
        free_slot(slot, generation);
        return false;
    }
    children->push_back({slot, generation, name, handle});
    return true;
}

// Executors that ended. One that never came up counts against its owner: three times, and its nodes fail.
void reap() {
    for (size_t i = 0; i < children->size();) {
        Starting &child = (*children)[i];
        pid_t pid;
        if (pg::call([&]() noexcept { return GetBackgroundWorkerPid(child.handle, &pid); }) != BGWH_STOPPED) {
            i++;
            continue;
        }
        bool came_up;
        {
            RegistryLock lock;
            const ExecutorSlot &e = executor_slot(child.slot);
            came_up = e.generation != child.generation || e.connected;
        }
        free_slot(child.slot, child.generation);
        if (came_up)
            start_failures->erase(child.owner);
        else
            (*start_failures)[child.owner]++;
        pfree(child.handle);
        children->erase(children->begin() + static_cast<long>(i));
    }
}

std::string why_unable(const std::string &name, const Owner &owner) {
    if (!OidIsValid(owner.role))
        return "the owner, role \"" + name + "\", does not exist";
    if (!owner.may_connect)
        return "the owner, role \"" + name + "\", may not connect to this database";
    auto failed = start_failures->find(name);
    if (failed != start_failures->end() && failed->second >= start_failure_limit)
        return "no executor could start as the owner, role \"" + name + "\" (see the server log)";
    return "";
}

// What one owner's work wants, by source.
struct Need {
    std::string owner;
    Demand of[max_sources];

    bool any() const {
        return std::any_of(std::begin(of), std::end(of), [](const Demand &d) { return d.ready + d.shares > 0; });
    }
    uint8 follows() const {
        uint8 parts = 0;
        for (const Demand &d : of)
            parts |= d.follows;
        return parts;
    }
};

// Executors for everybody who has work. Returns true when more are needed than could be had. Who is at work and who
// looks for it is seen in one look at the registry: an executor that goes over from one to the other counts once.
bool staff_owners(const std::vector<Need> &needs) {
    bool short_of_slots = false, unattended[max_sources] = {};
    for (const Need &need : needs) {
        if (!need.any())
            continue;
        pg::start_transaction();
        Owner owner = look_up_owner(need.owner);
        pg::commit_transaction();
        std::string unable = why_unable(need.owner, owner);
        if (!unable.empty()) {
            for (int i = 0; i < source_count(); i++)
                source(i).fail_owner(need.owner, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, unable);
            start_failures->erase(need.owner);
            continue;
        }
        Staff staff = staff_of(owner.role);
        int64 ready = 0;
        for (int i = 0; i < source_count(); i++) {
            int64 here = need.of[i].ready + std::max<int64>(0, need.of[i].shares - staff.busy[i]);
            unattended[i] |= here > 0;
            ready += here;
        }
        if (ready > 0 && staff.waiting > 0)
            wake_idle(owner.role);
        int64 wanted = std::min<int64>(ready - staff.waiting, settings::worker_processes - staff.all);
        for (int64 i = 0; i < wanted; i++)
            if (!start_executor(need.owner, owner)) {
                short_of_slots |= staff.all == 0 && i == 0;
                break;
            }
    }
    RegistryLock lock;
    for (int i = 0; i < source_count(); i++)
        set_waiting(i, unattended[i]);
    return short_of_slots;
}

// What appends shall wake. True when that has grown: events that came in between woke nobody.
bool publish_followed(const std::vector<Need> &needs) {
    uint8 followed = 0, unattended = 0;
    for (const Need &need : needs) {
        uint8 parts = need.follows();
        if (parts == 0)
            continue;
        pg::start_transaction();
        Oid role = look_up_owner(need.owner).role;
        pg::commit_transaction();
        followed |= parts;
        if (staff_of(role).all == 0)
            unattended |= parts;
    }
    RegistryLock lock;
    DatabaseSlot *slot = find_database(MyDatabaseId, false);
    if (!slot)
        return false;
    for (int i = 0; i < shared().executors; i++) { // they may know of more than this look saw
        const ExecutorSlot &e = executor_slot(i);
        if (e.state != ExecutorState::free && e.database == MyDatabaseId)
            followed |= e.follows;
    }
    bool grown = (followed & ~slot->followed) || (unattended & ~slot->unattended);
    slot->followed = followed;
    slot->unattended = unattended;
    return grown;
}

Need &need_of(std::vector<Need> &all, const std::string &owner) {
    auto found = std::find_if(all.begin(), all.end(), [&](const Need &n) { return n.owner == owner; });
    return found == all.end() ? all.emplace_back(Need{.owner = owner, .of = {}}) : *found;
}

// Asks all sources, in a transaction; `due`: when the next work is due by the clock.
std::vector<Need> ask_sources(TimestampTz &due) {
    std::vector<Need> all;
    for (int i = 0; i < source_count(); i++) {
        std::vector<Demand> demands;
        TimestampTz next = source(i).look(demands);
        if (next != 0 && (due == 0 || next < due))
            due = next;
        for (const Demand &d : demands) {
            Demand &sum = need_of(all, d.owner).of[i];
            sum.ready += d.ready;
            sum.shares += d.shares;
            sum.follows |= d.follows;
        }
    }
    return all;
}

bool take_check_leases() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, false);
    bool check = d && d->check_leases;
    if (d)
        d->check_leases = false;
    return check;
}

bool asked_to_restart() {
    RegistryLock lock;
    DatabaseSlot *d = find_database(MyDatabaseId, false);
    return d && d->restart;
}

// All executors of this database leave after their batch.
void dismiss_executors() {
    RegistryLock lock;
    for (int i = 0; i < shared().executors; i++) {
        ExecutorSlot &e = executor_slot(i);
        if (e.state != ExecutorState::free && e.database == MyDatabaseId) {
            e.leave = true;
            wake(e.process);
        }
    }
}

// A template is copied while nobody is connected to it: what is queued there waits for the copies.
bool is_template() {
    return pg::call([]() noexcept {
        HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
        if (!HeapTupleIsValid(tuple))
            return false;
        bool found = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datistemplate;
        ReleaseSysCache(tuple);
        return found;
    });
}

// The extension that belongs to work here; nullptr: none.
const catalog::Objects *find_extension() { return is_template() ? nullptr : catalog::objects_if_installed(); }

// One look at the tables: what is to be taken back, what is due, who needs executors. Milliseconds until the next one.
long look() {
    pg::call([]() noexcept { pgstat_report_activity(STATE_RUNNING, "chronicle scheduler"); });
    pg::start_transaction();
    const catalog::Objects *found = find_extension();
    if (!found || found->extension != extension) {
        leaving_as = Outcome::absent;
        pg::commit_transaction();
        return 0;
    }
    pg::commit_transaction();
    if (take_check_leases())
        for (int i = 0; i < source_count(); i++)
            if (source(i).reclaim)
                source(i).reclaim();
    for (int i = 0; i < source_count(); i++)
        if (source(i).attend)
            source(i).attend();
    TimestampTz due = run_chores();
    pg::start_transaction();
    std::vector<Need> needs = ask_sources(due);
    pg::make_commit_asynchronous(); // what a crash takes back, the next look finds again
    pg::commit_transaction();
    bool short_of_slots = staff_owners(needs), again = publish_followed(needs);
    {
        RegistryLock lock;
        set_starving(short_of_slots);
    }
    pg::call([]() noexcept {
        pgstat_report_stat(false);
        pgstat_report_activity(STATE_IDLE, nullptr);
    });
    long sleep = again ? 1 : short_of_slots ? full_retry_ms : look_interval_ms;
    if (due != 0)
        sleep = std::clamp<long>(static_cast<long>((due - GetCurrentTimestamp()) / 1000) + 1, 1, sleep);
    return sleep;
}

// Wake-ups come with every commit that makes work: under load one look serves many of them.
void gather_wakeups(TimestampTz last_look) {
    long left_us = static_cast<long>(last_look + look_pause_us - GetCurrentTimestamp());
    if (left_us > 0)
        pg_usleep(std::min(left_us, look_pause_us));
}

void serve() {
    uint32 event = compat::wait_event("ChronicleScheduler");
    TimestampTz last_look = 0;
    while (leaving_as == Outcome::failed) {
        gather_wakeups(last_look);
        if (reload_if_asked() && !settings::workers)
            leaving_as = Outcome::off;
        ResetLatch(MyLatch); // before the look: who changes something later wakes us
        reap();
        if (leaving_as == Outcome::off || asked_to_restart())
            break;
        long sleep = look();
        last_look = GetCurrentTimestamp();
        if (leaving_as == Outcome::failed)
            pg::wait_latch(sleep, event);
    }
    if (leaving_as == Outcome::failed)
        leaving_as = Outcome::none; // asked to restart
    dismiss_executors();
}

void run(Oid database) {
    set_signal_handlers(nullptr);
    pg::call([&]() noexcept { BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0); });
    before_shmem_exit(on_exit, Datum(0));
    if (!take_slot())
        return;
    disarm_timeouts();
    children = new std::vector<Starting>();
    start_failures = new std::unordered_map<std::string, int>();
    if (!settings::workers) {
        leaving_as = Outcome::off;
        dismiss_executors();
        return;
    }
    pg::start_transaction();
    const catalog::Objects *found = find_extension();
    bool alone = found && pg::try_lock_for_session(pg::LockKind::scheduler, 0);
    if (found)
        extension = found->extension;
    pg::commit_transaction();
    if (!found)
        leaving_as = Outcome::absent;
    else if (alone)
        serve();
}

} // namespace

extern "C" PGDLLEXPORT void chronicle_scheduler_main(Datum argument) {
    pg::entry([&]() { run(DatumGetObjectId(argument)); });
}

} // namespace chronicle::worker
