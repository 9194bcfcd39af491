// What the processes of this server tell each other in shared memory: who serves which database, who is an executor,
// what it runs. Hints and liveness only: the truth about work lies in tables. States: README.md in this folder.
#pragma once

#include "worker/source.hpp"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
}

namespace chronicle::worker {

enum class ExecutorState : int { free, starting, idle, busy };

/// Why a scheduler left; decides whether the launcher starts it again by itself.
enum class Outcome : int { none, absent /* no extension here */, off /* chronicle.workers */, failed };

/// One executor process, or the place for one.
struct ExecutorSlot {
    ExecutorState state;
    Oid database, role;
    uint64 generation; // (slot, generation) is a lease: alive exactly while it stands here
    uint64 last_generation; // of the former occupant, and whether we ended it ourselves
    bool last_excused;
    bool last_lost; // it ended in a job, by itself
    bool excused; // ended by us (DROP DATABASE …): what it ran does not count as lost
    bool leave; // asked to go after the batch
    bool connected; // it came up
    uint8 follows; // while idle: parts of the log (LogPart) whose commits wake it
    TimestampTz attends_until; // it looks at the log again by itself: until then commits wake no executor of its role
    int source; // whose step it takes, or took last
    pid_t pid;
    int process; // PGPROC number, -1: none
    uint64 job, cancel_job; // cancel_job == job: what runs now is to be interrupted
    int64 subject, lost_subject; // of a job that is no node: its id; of the one in which the former occupant ended
    pg::Uuid execution;
    char node[NAMEDATALEN];
    int reserved_count;
    uint64 reserved[72]; // what the batch runs (executor.hpp); chronicle.worker_batch is at most 64
    TimestampTz started_at;
    int64 nodes_run;
};

/// One database with a scheduler, or one that wants it.
struct DatabaseSlot {
    Oid database; // InvalidOid: free
    bool wanted; // the launcher shall start a scheduler
    int holds; // DROP DATABASE and its like are under way: start nothing
    pid_t pid; // of the scheduler; 0: none
    int process;
    bool restart; // leave, and be started again
    bool check_leases; // an executor ended: look for what it ran
    bool watch_ends; // the end of a run wakes the scheduler
    uint8 followed; // parts of the log that anybody here follows: the others cost an append nothing
    uint8 unattended; // of those: followed for an owner that has no executor; the scheduler is woken
    Outcome outcome;
    TimestampTz not_before; // after a failure: no start earlier than this
    TimestampTz started_at;
    ConditionVariable finished; // some execution of this database is over
    ConditionVariable tasks; // some task.external is to be had
    ConditionVariable projected; // some projection of this database got further, or into another state
};

struct Shared {
    LWLock lock; // guards all fields; held for a few instructions, taken last
    int tranche;
    pid_t launcher_pid;
    int launcher_process;
    TimestampTz launcher_started_at;
    bool new_database; // the launcher shall look at pg_database
    uint64 first_generation; // of this life of shared memory
    uint64 next_generation;
    bool after_crash; // this shared memory replaces one that a crash destroyed
    int starving; // schedulers that found no free executor slot
    int waiting[max_sources]; // schedulers that found work of this source
    int databases, executors;
    ConditionVariable changed; // a worker came or went
    // DatabaseSlot[databases], ExecutorSlot[executors] follow
};

size_t shared_size();
void init_shared();
Shared &shared();
DatabaseSlot &database_slot(int index);
ExecutorSlot &executor_slot(int index);

/// Holds shared().lock for the scope. Inside: plain C-like code, no call into PostgreSQL that can raise.
class RegistryLock {
public:
    RegistryLock() { LWLockAcquire(&shared().lock, LW_EXCLUSIVE); }
    ~RegistryLock() { LWLockRelease(&shared().lock); }
};

/// Under the lock: the slot of a database; makes one when `make`. nullptr: none, or all taken.
DatabaseSlot *find_database(Oid database, bool make);
/// Sets the latch of a process by its PGPROC number (-1: does nothing).
void wake(int process);

/// False when another kind of work waits, has no executor, and this is the last one that it could get.
bool may_take(int source);

/// Jobs of this database with a subject in which an executor ended, other than by a shutdown; each is told once.
std::vector<int64> take_lost_subjects(int source);
/// True when this server's shared memory replaces one that a crash destroyed.
bool started_after_crash();

/// A node's lease is alive while its executor is.
bool lease_alive(int slot, uint64 generation);
/// A dead lease counts as a loss unless we ended the executor, or the server was shut down.
bool loss_counts(int slot, uint64 generation);

/// After the commit of this transaction: executors of `role` look for ready nodes.
void announce_ready(Oid role);
/// After the commit: who follows these parts of the log (LogPart) looks at it.
void announce_appended(uint8 parts);
/// After the commit: the scheduler of this database looks at the tables.
void announce_scheduler();
/// After the commit: those who wait for executions of this database look again.
void announce_finished();
/// After the commit: those who wait for tasks of this database look again.
void announce_tasks();
/// In the scheduler: whether the end of a run of this database wakes it from now on.
void watch_ends(bool watch);
/// After the commit: those who wait for projections of this database look again.
void announce_projected();
/// After the commit: the executor with this lease interrupts what it runs, if it is still at it.
void announce_cancel(int slot, uint64 generation);
/// After the commit: the launcher sees to this database.
void announce_database();
/// After the commit: the scheduler of `database` starts anew (its settings changed).
void announce_restart(Oid database);
/// Registers the callbacks of announce_*; in _PG_init.
void init_announcements();

/// The condition variable that announce_finished() broadcasts, for this database; nullptr: no slot left.
ConditionVariable *finished_condition();
/// The same for announce_tasks().
ConditionVariable *tasks_condition();
/// The same for announce_projected().
ConditionVariable *projected_condition();

} // namespace chronicle::worker
