#include "core/uuid.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <type_traits>

using namespace chronicle::core;

namespace {

constexpr UuidRandom no_bits{};
constexpr UuidRandom all_bits{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// The example of RFC 9562, appendix A.6: 2022-02-22 14:22:22 UTC-5, rand_a cc3, rand_b 18c4dc0c0c07398f.
TEST(Uuid, MatchesTheExampleOfTheRfc) {
    const UuidRandom random{0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
    EXPECT_EQ(uuid_to_text(uuid_v7(0x017F22E279B0, random)), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST(Uuid, VersionAndVariantAreFixedWhateverTheRandomBits) {
    EXPECT_EQ(uuid_to_text(uuid_v7(0, no_bits)), "00000000-0000-7000-8000-000000000000");
    EXPECT_EQ(uuid_to_text(uuid_v7(0xffffffffffff, all_bits)), "ffffffff-ffff-7fff-bfff-ffffffffffff");
}

TEST(Uuid, TextGoesThereAndBack) {
    const std::string text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    EXPECT_EQ(uuid_to_text(uuid_from_text(text).value()), text);
    EXPECT_EQ(uuid_from_text("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), uuid_from_text(text));
    for (const char *bad : {"", "017f22e2", "017f22e279b07cc398c4dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
                            "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ", "017f22e2x79b0-7cc3-98c4-dc0c0c07398f",
                            "017f22e2-79b0-7cc3-98c4--c0c0c07398f", "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}"})
        EXPECT_FALSE(uuid_from_text(bad)) << bad;
}

TEST(UuidGenerator, LiesInStaticStorageAsZeros) {
    EXPECT_TRUE(std::is_trivially_copyable_v<UuidV7Generator>);
    EXPECT_TRUE(std::is_trivially_destructible_v<UuidV7Generator>);
}

TEST(UuidGenerator, RisesWithinAMillisecondAndWhenTheClockStepsBack) {
    UuidV7Generator generator;
    Uuid last{};
    std::uint64_t clock = 1'700'000'000'000;
    for (int i = 0; i < 100'000; i++) {
        if (i % 20'000 == 0)
            clock += 3;
        if (i % 30'000 == 29'999)
            clock -= 1000;
        // The random bits are the worst case: the highest seed first, then the lowest tail.
        const Uuid uuid = generator.next(clock, i % 2 ? all_bits : no_bits);
        ASSERT_GT(uuid, last) << i;
        ASSERT_EQ(uuid[6] >> 4, 7);
        ASSERT_EQ(uuid[8] >> 6, 2);
        last = uuid;
    }
}

TEST(UuidGenerator, TimestampRunsAheadOnlyByWhatTheCounterCannotHold) {
    UuidV7Generator generator;
    for (int i = 0; i < 4096; i++)
        generator.next(1000, no_bits);
    EXPECT_EQ(generator.last_ms, 1000u);
    generator.next(1000, no_bits);
    EXPECT_EQ(generator.last_ms, 1001u);
    generator.next(5000, all_bits);
    EXPECT_EQ(generator.last_ms, 5000u);
    EXPECT_EQ(generator.counter, 0x7ff); // the highest bit of a seed is clear
}

} // namespace
