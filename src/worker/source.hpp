// What executors work on. Each kind of work (nodes of runs, async projections …) is a source: the scheduler asks all of
// them who needs executors, an executor takes one step of any of them for its owner, by turns. A step is one claim,
// batch or the like, with its own transactions; so a source with much to do delays another by one step at most. And one
// executor is always left to another kind of work that waits and has none (may_take).
#pragma once

#include "pg/datum.hpp"

namespace chronicle::worker {

/// Who works: the owner whose work it does, and its lease.
struct Claimant {
    std::string owner;
    int slot;
    uint64 generation;
};

/// Parts of the log that a source may follow: commits of such events wake it.
enum LogPart : uint8 { log_of_users = 1, log_of_runs = 2 };

/// One owner's work.
struct Demand {
    std::string owner;
    int64 ready = 0; // steps that could be taken now and that nobody takes (counted up to a limit)
    int64 shares = 0; // work for so many executors at once, those that are at it included
    uint8 follows = 0; // LogParts whose commits make more work
};

struct Source {
    const char *name;
    /// In the scheduler, inside a transaction whose commit does not wait for the disk (no events there): promotes what
    /// is due, adds who has work, and returns when the next work is due by the clock (0: never).
    TimestampTz (*look)(std::vector<Demand> &demands);
    /// In the scheduler, outside of a transaction: takes back what dead executors ran. May be null.
    void (*reclaim)();
    /// In the scheduler, outside of a transaction: no executor can run as this owner; its work fails for that reason.
    void (*fail_owner)(const std::string &owner, int sqlstate, const std::string &reason);
    /// In an executor, outside of a transaction: one step for its owner; false when there was nothing to do. Leaves no
    /// transaction open; throws only when the engine itself is at fault: the executor then ends.
    bool (*step)(const Claimant &claimant);
    /// In the scheduler, outside of a transaction, at each look: what is due and takes transactions of its own. May be
    /// null.
    void (*attend)() = nullptr;
};

inline constexpr int max_sources = 4;

/// For _PG_init.
void add_source(const Source &source);
int source_count();
const Source &source(int index);

/// Work of the scheduler itself, beside the sources: short, outside of a transaction, in ones of its own. Returns when
/// it is wanted again (0: whenever the scheduler looks).
using Chore = TimestampTz (*)();
inline constexpr int max_chores = 8;
/// For _PG_init.
void add_chore(Chore chore);
/// Runs them all; when the first of them is wanted again.
TimestampTz run_chores();

/// In a step: commits of events of these parts wake this executor from now on (while it is idle). Call it before
/// looking at the log: what commits after the look then wakes us.
void follow_log(uint8 parts);

/// In a step, with work from the log in hand: this executor looks at the log again by itself, so commits of events wake
/// none of this owner for so long, unless it begins a node. 0: no longer; call it before that look.
void attend_log(int64 us);
/// In a step that has nothing to do: it has just done its share of a busy log. It looks again after so long, and
/// attends until then; what comes meanwhile is done together.
void rest(int64 us);
bool resting();

/// Where a step has used the processor for a while: lets a process have it that waits for it, an appender, say. A
/// kernel may otherwise leave it waiting for its whole tick (4 ms at 250 Hz).
void yield_processor();

} // namespace chronicle::worker
