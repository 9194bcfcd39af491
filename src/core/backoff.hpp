#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chronicle::core {

/// When and how often a node is tried again.
struct RetryPolicy {
    int max_attempts = 1; ///< total attempts, the first included
    bool max_attempts_set = false; ///< false: the setting default_retry_attempts decides
    double initial_interval_ms = 1000;
    double backoff = 2; ///< factor from one interval to the next, >= 1
    double max_interval_ms = 60000;
    double jitter = 0.1; ///< share of the interval that chance may take away, 0 … 1
    std::vector<std::string> non_retryable; ///< SQLSTATEs, or their two-character classes
};

/// The wait before the next attempt: min(max, initial * backoff^(attempt - 1)), shortened by up to
/// the jitter's share of it, so that it never exceeds max and spreads also when max is reached.
/// \param attempt the attempt that failed, from 1
/// \param random  0 … 1
/// \return milliseconds, finite, 0 … policy.max_interval_ms
double delay(const RetryPolicy &policy, int attempt, double random);

/// Whether the policy lets an error be retried: neither its SQLSTATE nor its class is listed.
bool is_retryable(const RetryPolicy &policy, std::string_view sqlstate);

} // namespace chronicle::core
