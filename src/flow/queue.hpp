// The queue of nodes: claiming, giving back, promoting what is due. States and lock order: README.md.
#pragma once

#include "worker/source.hpp"

namespace chronicle::flow {

/// A node that this executor has claimed: its attempt and its Started event are committed.
struct Claim {
    pg::Uuid execution;
    int node_index = 0;
    std::string node_id;
    int attempt = 0;
    bool alone = false; // in a transaction of its own
    bool compensating = false; // its compensation runs, not the node itself
    std::string owner;
    TimestampTz started_at = 0; // the attempt's: of its Started event
    bool begun = false; // the attempt began before: it has waited, and is looked at again
    bool lost = false; // the attempt began before, and its worker was lost: it begins again
    bool reserved = false; // not claimed: ready in the queue, and run with another run's node
    std::vector<int> siblings; // ready nodes of the run, next in the queue; not claimed
};

using worker::Claimant;

/// Claims the next ready node of the owner in a transaction of its own and commits it; nothing when none is left. The
/// node stays reserved (worker::release_nodes).
std::optional<Claim> claim_next(const Claimant &claimant);

/// The same within the transaction that ends a batch, waiting for nobody: nothing when the first few that are ready are
/// in other hands. The claim is to be run when that transaction has committed; claim_ended() must follow in any case,
/// and leaves no node reserved but the claimed one.
std::optional<Claim> claim_next_within(const Claimant &claimant);
void claim_ended(bool committed);

/// Inside a transaction: owners with ready nodes.
std::vector<worker::Demand> demand();

/// Nodes whose executor is dead become ready again, or fail for good when they were lost three times while they ran
/// alone. In transactions of its own.
void reclaim();
/// The same for those whose run was locked at that time; when to try it (0: there are none).
void reclaim_again();
TimestampTz next_reclaim();

/// Soon: when the scheduler looks again at what somebody had locked.
TimestampTz look_again_at();

/// Inside a transaction: retries that are due become ready. Returns when the next one is due (0: none).
TimestampTz promote_due();

/// Fails every ready node of an owner that no executor can run as. In transactions of its own.
void fail_ready_of(const std::string &owner, int sqlstate, const std::string &reason);

} // namespace chronicle::flow
