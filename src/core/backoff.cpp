#include "core/backoff.hpp"

#include <algorithm>
#include <cmath>

namespace chronicle::core {

double delay(const RetryPolicy &policy, int attempt, double random) {
    if (!(policy.initial_interval_ms > 0))
        return 0; // and 0 * infinity below would be no number
    const double grown = policy.initial_interval_ms * std::pow(policy.backoff, std::max(attempt, 1) - 1);
    const double interval = std::min(grown, policy.max_interval_ms);
    const double chance = random > 0 ? std::min(random, 1.0) : 0.0;
    return interval * (1 - policy.jitter * chance);
}

bool is_retryable(const RetryPolicy &policy, std::string_view sqlstate) {
    return std::none_of(policy.non_retryable.begin(), policy.non_retryable.end(),
                        [&](std::string_view listed) { return listed == sqlstate || listed == sqlstate.substr(0, 2); });
}

} // namespace chronicle::core
