// How far a projection is: its row of chronicle_data.projection_progress. Who changes it holds the projection's lock
// (LockKind::projection) in exclusive mode, until the end of the transaction.
#pragma once

#include "projection/projection.hpp"

#include <set>

namespace chronicle::projection {

struct Progress {
    std::string status;
    int64 position = 0;
    int64 origin = 0; // events after it count
    int64 redone_until = 0; // was projected before a reset
    std::optional<int64> fence;
    int generation = 1;
    std::optional<int> batch_limit;
    int attempts = 0;
    int losses = 0;
    TimestampTz due_at = 0; // 0: now
    std::optional<int> lease_slot; // a process marked that it works on it, and has not finished
    uint64 lease_generation = 0;
    double rate = 0;
    TimestampTz updated_at = 0;

    bool is_active() const { return status == "running" || status == "rebuilding"; }
};

bool try_lock_projection(int64 id);
void lock_projection(int64 id);

/// By a new snapshot; nothing when the projection is gone.
std::optional<Progress> read_progress(int64 id);
/// By the active snapshot.
std::optional<Progress> read_progress_as_of_snapshot(int64 id);

/// After a batch: the new position, the events in it, and no failure any more.
void save_progress(const Projection &projection, const Progress &before, int64 position, int64 events,
                   const std::string &status, std::optional<int> batch_limit);

/// A condition that passes without anybody's help: what must_pass(), but for what was cancelled.
bool is_passing(const pg::Error &error);

/// Why a batch failed.
struct BatchFailure {
    int64 after = 0; // the position that the batch began after
    int attempts = 0; // failed ones before it
    int64 events = 0; // in the batch
    int64 failing = 0; // the event at which it failed (0: not known), and how many of the batch came before it
    int64 good = 0;
    int64 put_aside = 0; // events that were parked behind others: undone with the batch
    std::string partition; // of the failing event
    bool set_up = false; // before any event: the function, the owner … is missing
    pg::Error error;
};

/// Notes, in a transaction of its own that is flushed, that a batch begins: found again, the process died in it.
void mark_running(int64 id, int slot, uint64 generation);
/// The same for an executor that is known to be dead.
inline void mark_lost(int64 id) { mark_running(id, -1, 0); }
void clear_mark(int64 id);
/// The mark was found: fewer events the next time.
void record_loss(const Projection &projection);
inline constexpr int loss_limit = 3; // deaths with one event
/// Forgets what failed of one that is running: at once, in full batches.
void try_again(int64 id);
/// Asks for the next look only after so many milliseconds.
void postpone(int64 id, int64 ms);

/// Decides what follows: smaller batches, another attempt later, the event parked, or the projection faulted. In a
/// transaction of its own.
void record_failure(const Projection &projection, const BatchFailure &failure);

/// Sets a projection's status to faulted with a reason. The caller holds its lock.
void set_faulted(int64 id, const pg::Error &error, int64 position);

/// The partitions of which an event is parked.
std::set<std::string> parked_partitions(int64 id);
void park(int64 id, int64 position, const std::string &partition, int attempts, const std::string &error,
          const std::string &sqlstate);

} // namespace chronicle::projection
