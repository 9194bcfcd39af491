// Nodes of runs as work for executors.
#include "flow/source.hpp"

#include "flow/queue.hpp"
#include "flow/run.hpp"
#include "flow/run_timeout.hpp"

namespace chronicle::flow {

namespace {

TimestampTz look(std::vector<worker::Demand> &demands) {
    TimestampTz due = promote_due(), timeout = next_timeout();
    if (timeout != 0 && (due == 0 || timeout < due))
        due = timeout;
    for (worker::Demand &d : demand())
        demands.push_back(std::move(d));
    return due;
}

bool step(const worker::Claimant &claimant) {
    std::optional<Claim> claim = claim_next(claimant);
    if (claim)
        run_claim(*claim, claimant);
    return claim.has_value();
}

} // namespace

void init_source() { worker::add_source({"nodes", look, reclaim, fail_ready_of, step, end_timed_out}); }

} // namespace chronicle::flow
