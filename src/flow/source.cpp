// Nodes of runs as work for executors.
#include "flow/source.hpp"

#include "flow/child.hpp"
#include "flow/queue.hpp"
#include "flow/run.hpp"
#include "flow/run_timeout.hpp"
#include "flow/slots.hpp"
#include "flow/task.hpp"
#include "worker/executor.hpp"

namespace chronicle::flow {

namespace {

constexpr int step_ms = 20; // a step claims no more nodes then: other sources have their turn

TimestampTz look(std::vector<worker::Demand> &demands) {
    TimestampTz due = 0;
    for (TimestampTz next :
         {wake_parents(), expire_tasks(), promote_due(), next_timeout(), next_hand_out(), next_reclaim()})
        if (next != 0 && (due == 0 || next < due))
            due = next;
    for (worker::Demand &d : demand())
        demands.push_back(std::move(d));
    return due;
}

bool step(const worker::Claimant &claimant) {
    std::optional<Claim> claim = claim_next(claimant);
    if (!claim)
        return false;
    TimestampTz claims_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), step_ms);
    while (claim)
        claim = run_claim(*claim, claimant, claims_until);
    worker::release_nodes();
    return true;
}

void attend() {
    reclaim_again();
    end_timed_out();
    cancel_abandoned();
    hand_out_slots();
}

} // namespace

void init_source() { worker::add_source({"nodes", look, reclaim, fail_ready_of, step, attend}); }

} // namespace chronicle::flow
