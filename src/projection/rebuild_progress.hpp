// The rows that say how far a rebuild is (chronicle_data.projection_rebuild and its parts). Who works on a part holds
// the rebuild's lock (LockKind::projection_rebuild) in share mode, who ends it exclusively.
#pragma once

#include "projection/projection.hpp"
#include "worker/source.hpp"

namespace chronicle::projection {

struct RebuildPart {
    int part = 0;
    int64 position = 0;
    bool caught_up = false; // its last step came to where the live one was
    std::optional<int> batch_limit;
    int attempts = 0, losses = 0;
    TimestampTz due_at = 0; // 0: now
    std::optional<int> lease_slot;
    uint64 lease_generation = 0;
};

struct Rebuild {
    TimestampTz started_at = 0; // tells it from a later one of the same projection
    int64 fingerprint = 0; // of the code when it began
    bool failed = false, done = false; // then it is cleaned up
    int attempts = 0; // at the last step
    TimestampTz due_at = 0;
    std::vector<RebuildPart> parts; // none: cleaned up

    bool is_over() const { return failed || done; }
};

/// Nothing when there is none. `lock`: the parts' rows, until the end of the transaction.
std::optional<Rebuild> read_rebuild(int64 id, bool lock = false);
void insert_rebuild(int64 id, int parts, int64 position, int64 fingerprint);
/// Also its parts.
void delete_rebuild(int64 id);
void delete_parts(int64 id);

/// Writes the lease, the limit and the losses of a part that an executor takes.
void claim_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant);
/// After a step: how far it came, and no lease any more. False when the lease is not (any more) the claimant's.
bool save_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant);
/// Tried again after a while; the lease is given back.
void postpone_part(int64 id, const RebuildPart &part, const worker::Claimant &claimant, int64 ms);
void postpone_rebuild(int64 id, int attempts, int64 ms);
/// What is live is what was computed.
void mark_done(int64 id);
/// `position` 0: not known at which event.
void mark_failed(int64 id, TimestampTz started_at, const pg::Error &error, int64 position);

} // namespace chronicle::projection
