// An executor: a process connected to one database as one owner of workflows, projections …. It takes steps of that
// owner's work (source.hpp), by turns, and waits on its latch for more; after a while without work it leaves, unless it
// is the first of its owner that follows the log: then a commit of events wakes it.
//
// Its slot in shared memory is its lease: (slot, generation) stands in the row of the node that it runs. The slot is
// given back in before_shmem_exit, whatever ends the process; only a kill -9 leaves no time for that, and then the
// postmaster replaces all of shared memory.
#include "worker/executor.hpp"

#include "catalog/objects.hpp"
#include "compat/compat.hpp"
#include "pg/latch.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"
#include "worker/process.hpp"
#include "worker/registry.hpp"
#include "worker/source.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/timeout.h"
#include <sched.h>
#include <signal.h>
}

namespace chronicle::worker {

namespace {

constexpr long idle_ms = 30000; // without work for so long: leave
constexpr TimestampTz share_us = 100000; // others wait for a slot: leave after so long
constexpr int64 ask_again_us = 5000;
constexpr int64 yield_us = 200;
constexpr int64 rest_slack_us = 5000; // a rest may end so much later than it should
constexpr long held_back_ms = 100; // the only free executor is left to other work: look again
constexpr int insist_ms = 1000; // how often a swallowed cancel is repeated
constexpr int insist_limit = 3;

int my_slot = -1;
uint64 my_generation = 0;
bool as_owner = true;
uint8 followed_parts = 0;
TimestampTz rest_until = 0; // 0: it does not rest
bool job_active = false;
TimeoutId deadline_timeout = MAX_TIMEOUTS, insist_timeout = MAX_TIMEOUTS;
volatile sig_atomic_t deadline_count = 0; // how often the running statement was asked to stop
volatile sig_atomic_t deadline_passed = 0;
volatile sig_atomic_t cancel_seen = 0;

// The running statement is asked to stop; one that swallows it three times costs the process. In signal context.
void interrupt_statement() {
    deadline_count = deadline_count + 1;
    if (deadline_count > insist_limit)
        ProcDiePending = true;
    else
        QueryCancelPending = true;
    InterruptPending = true;
    SetLatch(MyLatch);
}

void on_deadline() {
    deadline_passed = 1;
    interrupt_statement();
}

// Somebody wants the current job interrupted. What comes late finds another job number, and does nothing. Asked again
// every second while the job's statement runs: it may swallow a cancel.
void interrupt_if_asked() {
    if (my_slot < 0 || !job_active)
        return;
    const ExecutorSlot &e = executor_slot(my_slot);
    if (e.cancel_job == e.job) {
        cancel_seen = 1;
        interrupt_statement();
    }
}

void on_interrupt(int) {
    int saved_errno = errno;
    interrupt_if_asked();
    if (get_timeout_indicator(LOCK_TIMEOUT, false)) { // PostgreSQL's lock_timeout comes this way
        QueryCancelPending = true;
        InterruptPending = true;
    }
    SetLatch(MyLatch);
    errno = saved_errno;
}

void on_exit(int, Datum) {
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(my_slot);
    if (e.pid != MyProcPid || e.generation != my_generation)
        return;
    e.state = ExecutorState::free;
    e.last_generation = e.generation;
    e.last_excused = e.excused || ended_by_shutdown();
    e.last_lost = job_active && !e.last_excused;
    e.lost_subject = e.last_excused ? 0 : e.subject;
    e.subject = 0;
    e.attends_until = 0;
    e.pid = 0;
    e.process = -1;
    if (DatabaseSlot *d = find_database(e.database, false)) {
        d->check_leases = true;
        wake(d->process);
    }
    ConditionVariableBroadcast(&shared().changed);
}

// The scheduler has prepared the slot: it becomes ours, or is not there for us any more.
bool take_slot(int slot, Oid *database, Oid *role) {
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(slot);
    uint64 generation;
    memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
    if (e.state != ExecutorState::starting || e.generation != generation)
        return false;
    my_slot = slot;
    my_generation = generation;
    e.pid = MyProcPid;
    e.process = compat::my_proc_number();
    e.started_at = GetCurrentTimestamp();
    e.nodes_run = 0;
    *database = e.database;
    *role = e.role;
    return true;
}

void set_state(ExecutorState state) {
    RegistryLock lock;
    executor_slot(my_slot).state = state;
}

void mark_connected() {
    RegistryLock lock;
    executor_slot(my_slot).connected = true;
}

bool asked_to_leave(TimestampTz started_at) {
    RegistryLock lock;
    const ExecutorSlot &e = executor_slot(my_slot);
    return e.leave || (shared().starving > 0 && GetCurrentTimestamp() - started_at > share_us);
}

std::string role_name(Oid role) {
    pg::start_transaction();
    char *name = pg::call([&]() noexcept { return GetUserNameFromId(role, true); });
    std::string copy = name ? name : "";
    pg::commit_transaction();
    return copy;
}

bool extension_is_here() {
    pg::start_transaction();
    bool here = catalog::objects_if_installed() != nullptr;
    pg::commit_transaction();
    return here;
}

// A role that cannot log in is served by a session of the bootstrap superuser, restricted (PostgreSQL 15 and 16).
void connect(Oid database, Oid role, bool role_may_log_in) {
    as_owner = role_may_log_in || compat::connects_as_nologin;
    Oid user = as_owner ? role : InvalidOid;
    pg::call(
        [&]() noexcept { BackgroundWorkerInitializeConnectionByOid(database, user, compat::worker_connection_flags); });
}

void set_source(int source) {
    RegistryLock lock;
    executor_slot(my_slot).source = source;
}

// Others who follow the log for the same owner, and come first when it is to be looked at.
bool is_spare_follower() {
    RegistryLock lock;
    const ExecutorSlot &mine = executor_slot(my_slot);
    for (int i = 0; i < my_slot; i++)
        if (const ExecutorSlot &e = executor_slot(i);
            e.state != ExecutorState::free && e.database == mine.database && e.role == mine.role && e.follows != 0)
            return true;
    return false;
}

// Under the lock. What was appended while this executor said that it would look has woken nobody; now it may be long.
void hand_over_log(ExecutorSlot &mine) {
    if (mine.attends_until == 0)
        return;
    mine.attends_until = 0;
    for (int i = 0; i < shared().executors; i++)
        if (const ExecutorSlot &e = executor_slot(i);
            e.state == ExecutorState::idle && e.database == mine.database && e.role == mine.role && e.follows != 0) {
            wake(e.process);
            return;
        }
}

// At least a millisecond: the latch waits for whole ones.
long rest_left_ms() { return std::max<long>(1, static_cast<long>((rest_until - GetCurrentTimestamp() + 999) / 1000)); }

enum class Turn { worked, nothing, held_back };

// One step of the first source, from `first` on, that has something to do; the next turn begins after it. While one
// source is at work, another that had nothing is asked every few milliseconds only; before the executor sleeps, all
// are.
Turn take_turn(const Claimant &claimant, int &first) {
    static TimestampTz asked_in_vain[max_sources] = {};
    Turn turn = Turn::nothing;
    bool passed_over[max_sources] = {};
    for (bool ask_all : {false, true})
        for (int i = 0; i < source_count(); i++) {
            int current = (first + i) % source_count();
            if (ask_all && !passed_over[current])
                continue;
            TimestampTz now = GetCurrentTimestamp();
            passed_over[current] = !ask_all && now - asked_in_vain[current] < ask_again_us;
            if (passed_over[current])
                continue;
            if (!may_take(current)) {
                turn = Turn::held_back;
                continue;
            }
            set_source(current);
            if (source(current).step(claimant)) {
                first = (current + 1) % source_count();
                asked_in_vain[current] = 0;
                return Turn::worked;
            }
            asked_in_vain[current] = now;
        }
    return turn;
}

void serve(const Claimant &claimant) {
    TimestampTz started_at = GetCurrentTimestamp();
    uint32 event = compat::wait_event("ChronicleExecutor");
    int first = 0;
    while (!asked_to_leave(started_at)) {
        pg::check_interrupts();
        reload_if_asked();
        set_state(ExecutorState::idle); // before the look: who makes work later wakes us
        ResetLatch(MyLatch);
        if (resting() && GetCurrentTimestamp() >= rest_until)
            rest_until = 0;
        if (!extension_is_here())
            return;
        Turn turn = settings::workers ? take_turn(claimant, first) : Turn::nothing;
        if (turn == Turn::worked)
            continue;
        pg::call([]() noexcept {
            pgstat_report_stat(true); // nothing else will, while it rests
            pgstat_report_activity(STATE_IDLE, nullptr);
        });
        bool stays = followed_parts != 0 && !is_spare_follower();
        long patience = turn == Turn::held_back ? held_back_ms : stays ? -1 : idle_ms;
        if (resting())
            (void)pg::wait_latch(rest_left_ms(), event);
        else if (!pg::wait_latch(patience, event) && turn == Turn::nothing)
            return;
    }
}

void run(int slot) {
    // The callback stands before the slot is ours: whatever ends this process frees it.
    Oid database, role;
    before_shmem_exit(on_exit, Datum(0));
    my_slot = slot;
    if (!take_slot(slot, &database, &role))
        return;
    bool may_log_in = MyBgworkerEntry->bgw_extra[sizeof(uint64)] != 0;
    set_signal_handlers(on_interrupt);
    connect(database, role, may_log_in);
    mark_connected();
    deadline_timeout = RegisterTimeout(USER_TIMEOUT, on_deadline);
    insist_timeout = RegisterTimeout(USER_TIMEOUT, interrupt_if_asked);
    std::string owner = role_name(role);
    if (owner.empty())
        return;
    pg::call([&]() noexcept { SetConfigOption("application_name", "chronicle executor", PGC_USERSET, PGC_S_SESSION); });
    disarm_timeouts(); // a node may set them for itself
    serve({owner, my_slot, my_generation});
}

} // namespace

bool is_executor() { return my_slot >= 0; }

bool connected_as_owner() { return as_owner; }

bool serves(Oid role) { return OidIsValid(role) && (!as_owner || role == GetSessionUserId()); }

void follow_log(uint8 parts) {
    if (parts == followed_parts)
        return;
    followed_parts = parts;
    RegistryLock lock;
    executor_slot(my_slot).follows = parts;
    if (DatabaseSlot *d = find_database(MyDatabaseId, true))
        d->followed |= parts;
}

void attend_log(int64 us) {
    RegistryLock lock;
    executor_slot(my_slot).attends_until = us == 0 ? 0 : GetCurrentTimestamp() + us;
}

void rest(int64 us) {
    rest_until = GetCurrentTimestamp() + us;
    attend_log(us + rest_slack_us);
}
bool resting() { return rest_until != 0; }

void yield_processor() {
    static TimestampTz last = 0;
    if (my_slot < 0) // a caller's session
        return;
    if (TimestampTz now = GetCurrentTimestamp(); now - last >= yield_us) {
        sched_yield();
        last = now;
    }
}

bool follows_a_loss() {
    RegistryLock lock;
    return shared().after_crash || executor_slot(my_slot).last_lost;
}

void give_up() {
    RegistryLock lock;
    executor_slot(my_slot).leave = executor_slot(my_slot).excused = true;
}

namespace {

// The end of a UUID is random.
uint64 node_key(const pg::Uuid &execution, int node) {
    uint64 end;
    memcpy(&end, execution.data() + execution.size() - sizeof(end), sizeof(end));
    return end ^ (static_cast<uint64>(node) * 0x9E3779B97F4A7C15u);
}

// Under the lock.
bool serves_here(const ExecutorSlot &e) { return e.state != ExecutorState::free && e.database == MyDatabaseId; }

} // namespace

bool reserve_node(const pg::Uuid &execution, int node) {
    uint64 key = node_key(execution, node);
    RegistryLock lock;
    ExecutorSlot &mine = executor_slot(my_slot);
    if (mine.reserved_count == static_cast<int>(std::size(mine.reserved)))
        return false;
    for (int i = 0; i < shared().executors; i++) {
        const ExecutorSlot &e = executor_slot(i);
        const uint64 *end = e.reserved + e.reserved_count;
        if (serves_here(e) && std::find(e.reserved, end, key) != end)
            return false;
    }
    mine.reserved[mine.reserved_count++] = key;
    return true;
}

ReservedNodes::ReservedNodes() : keys_(static_cast<size_t>(shared().executors) * std::size(ExecutorSlot{}.reserved)) {
    size_t count = 0;
    LWLockAcquire(&shared().lock, LW_SHARED);
    for (int i = 0; i < shared().executors; i++)
        if (const ExecutorSlot &e = executor_slot(i); serves_here(e)) {
            std::copy(e.reserved, e.reserved + e.reserved_count, keys_.data() + count);
            count += static_cast<size_t>(e.reserved_count);
        }
    LWLockRelease(&shared().lock);
    keys_.resize(count);
    std::sort(keys_.begin(), keys_.end());
}

bool ReservedNodes::contains(const pg::Uuid &execution, int node) const {
    return std::binary_search(keys_.begin(), keys_.end(), node_key(execution, node));
}

void release_last_node() {
    RegistryLock lock;
    executor_slot(my_slot).reserved_count--;
}

void release_other_nodes() {
    RegistryLock lock;
    ExecutorSlot &mine = executor_slot(my_slot);
    mine.reserved[0] = mine.reserved[mine.reserved_count - 1];
    mine.reserved_count = 1;
}

void release_nodes() {
    RegistryLock lock;
    executor_slot(my_slot).reserved_count = 0;
}

Job::Job(const pg::Uuid &execution, const std::string &node) : Job(execution, 0, node) {}
Job::Job(int64 subject, const std::string &name) : Job({}, subject, name) {}

namespace {

// Under the lock. `bytes` of the name have room.
void show(ExecutorSlot &e, const pg::Uuid &execution, const std::string &name, int bytes) {
    e.execution = execution;
    strlcpy(e.node, name.c_str(), static_cast<size_t>(bytes) + 1);
}

int clipped(const std::string &name) {
    return pg_mbcliplen(name.c_str(), static_cast<int>(name.size()), NAMEDATALEN - 1);
}

} // namespace

Job::Job(const pg::Uuid &execution, int64 subject, const std::string &name) {
    int bytes = clipped(name);
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(my_slot);
    cancel_seen = 0;
    e.job++;
    if (subject == 0)
        hand_over_log(e);
    show(e, execution, name, bytes);
    e.subject = subject;
    e.state = ExecutorState::busy;
    job_active = true;
}

Job::~Job() {
    job_active = false;
    RegistryLock lock;
    ExecutorSlot &e = executor_slot(my_slot);
    e.nodes_run++;
    e.subject = 0;
    e.node[0] = '\0';
}

void Job::turn_to(const pg::Uuid &execution, const std::string &node) {
    int bytes = clipped(node);
    RegistryLock lock;
    show(executor_slot(my_slot), execution, node, bytes);
}

bool Job::is_running(const pg::Uuid &execution) {
    return my_slot >= 0 && job_active && executor_slot(my_slot).execution == execution;
}

bool Job::cancel_requested() { return cancel_seen != 0; }

Deadline::Deadline(int ms, int again_ms) {
    deadline_count = 0;
    deadline_passed = 0;
    TimestampTz now = GetCurrentTimestamp();
    if (ms > 0)
        enable_timeout_every(deadline_timeout, TimestampTzPlusMilliseconds(now, ms), again_ms);
    enable_timeout_every(insist_timeout, TimestampTzPlusMilliseconds(now, insist_ms), insist_ms);
}

// What was asked of the job must not hit what runs after it.
Deadline::~Deadline() {
    disable_timeout(deadline_timeout, false);
    disable_timeout(insist_timeout, false);
    if (deadline_count > 0 && deadline_count <= insist_limit)
        QueryCancelPending = false;
    deadline_count = 0;
}

bool Deadline::passed() { return deadline_passed != 0; }

extern "C" PGDLLEXPORT void chronicle_executor_main(Datum argument) {
    pg::entry([&]() { run(DatumGetInt32(argument)); });
}

} // namespace chronicle::worker
