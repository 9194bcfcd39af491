#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace chronicle::core {

using Uuid = std::array<std::uint8_t, 16>;

/// Ten random bytes, of which 74 bits go into a UUIDv7. The core has no source of randomness.
using UuidRandom = std::array<std::uint8_t, 10>;

/// A version 7 UUID (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then randomness.
/// \param unix_ms milliseconds since 1970; only the low 48 bits are used
Uuid uuid_v7(std::uint64_t unix_ms, const UuidRandom &random);

/// UUIDv7s that rise within one process, also within one millisecond and when the clock steps back
/// (RFC 9562, section 6.2, method 1: a dedicated counter of 12 bits in rand_a, seeded at random with
/// its highest bit clear; when it overflows, the timestamp runs ahead by one millisecond).
/// Plain data: may lie in static storage, and 0 is its initial state.
struct UuidV7Generator {
    std::uint64_t last_ms = 0;
    std::uint16_t counter = 0;

    Uuid next(std::uint64_t unix_ms, const UuidRandom &random);
};

/// 8-4-4-4-12 lower-case hexadecimal digits.
std::string uuid_to_text(const Uuid &uuid);

/// Reads the form that uuid_to_text writes, in either case; anything else is empty.
std::optional<Uuid> uuid_from_text(std::string_view text);

} // namespace chronicle::core
