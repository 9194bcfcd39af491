#include "core/backoff.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace chronicle::core;

namespace {

RetryPolicy without_jitter() {
    RetryPolicy policy;
    policy.jitter = 0;
    return policy;
}

TEST(Backoff, GrowsByItsFactorUpToTheMaximum) {
    const RetryPolicy policy = without_jitter();
    EXPECT_EQ(delay(policy, 1, 0.5), 1000);
    EXPECT_EQ(delay(policy, 2, 0.5), 2000);
    EXPECT_EQ(delay(policy, 3, 0.5), 4000);
    EXPECT_EQ(delay(policy, 6, 0.5), 32'000);
    EXPECT_EQ(delay(policy, 7, 0.5), 60'000);
    EXPECT_EQ(delay(policy, 8, 0.5), 60'000);
}

TEST(Backoff, JitterTakesAwayItsShare) {
    RetryPolicy policy;
    policy.jitter = 0.5;
    EXPECT_EQ(delay(policy, 1, 0), 1000);
    EXPECT_EQ(delay(policy, 1, 0.5), 750);
    EXPECT_EQ(delay(policy, 1, 1), 500);
    EXPECT_EQ(delay(policy, 100, 1), 30'000); // it also spreads when the maximum is reached
}

TEST(Backoff, StaysWithinItsBoundsWhateverIsAsked) {
    RetryPolicy policy;
    for (const double initial : {0.0, 1.0, 1e15})
        for (const double backoff : {1.0, 2.0, 1e6})
            for (const double max : {0.0, 60'000.0, 8e13})
                for (const double jitter : {0.0, 0.1, 1.0})
                    for (const int attempt :
                         {std::numeric_limits<int>::min(), 0, 1, 1000, std::numeric_limits<int>::max()})
                        for (const double random : {-1.0, 0.0, 0.3, 1.0, 2.0, std::nan("")}) {
                            policy.initial_interval_ms = initial;
                            policy.backoff = backoff;
                            policy.max_interval_ms = max;
                            policy.jitter = jitter;
                            const double ms = delay(policy, attempt, random);
                            ASSERT_TRUE(std::isfinite(ms));
                            ASSERT_GE(ms, 0);
                            ASSERT_LE(ms, max);
                        }
}

TEST(Backoff, NonRetryableNamesCodesOrClasses) {
    RetryPolicy policy;
    EXPECT_TRUE(is_retryable(policy, "23505"));
    policy.non_retryable = {"23505", "22"};
    EXPECT_FALSE(is_retryable(policy, "23505"));
    EXPECT_TRUE(is_retryable(policy, "23503"));
    EXPECT_FALSE(is_retryable(policy, "22012"));
    EXPECT_TRUE(is_retryable(policy, "40001"));
    EXPECT_TRUE(is_retryable(policy, ""));
}

} // namespace
