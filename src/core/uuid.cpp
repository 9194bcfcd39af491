#include "core/uuid.hpp"

#include <cstddef>

namespace chronicle::core {

namespace {

constexpr std::uint16_t counter_max = 0xfff;
constexpr std::uint16_t counter_seed_mask = 0x7ff; // the highest bit stays clear: room to count

std::uint16_t two_bytes(const UuidRandom &random) { return static_cast<std::uint16_t>(random[0] << 8 | random[1]); }

// The layout of RFC 9562, section 5.7; rand_a has 12 bits.
Uuid assemble(std::uint64_t unix_ms, std::uint16_t rand_a, const UuidRandom &random) {
    Uuid uuid{};
    for (std::size_t i = 0; i < 6; i++)
        uuid[i] = static_cast<std::uint8_t>(unix_ms >> (40 - 8 * i));
    uuid[6] = static_cast<std::uint8_t>(0x70 | (rand_a >> 8 & 0x0f));
    uuid[7] = static_cast<std::uint8_t>(rand_a);
    for (std::size_t i = 8; i < 16; i++)
        uuid[i] = random[i - 6];
    uuid[8] = static_cast<std::uint8_t>(0x80 | (uuid[8] & 0x3f));
    return uuid;
}

bool dash_at(std::size_t position) { return position == 8 || position == 13 || position == 18 || position == 23; }

int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

} // namespace

Uuid uuid_v7(std::uint64_t unix_ms, const UuidRandom &random) { return assemble(unix_ms, two_bytes(random), random); }

Uuid UuidV7Generator::next(std::uint64_t unix_ms, const UuidRandom &random) {
    const auto seed = static_cast<std::uint16_t>(two_bytes(random) & counter_seed_mask);
    if (unix_ms > last_ms) {
        last_ms = unix_ms;
        counter = seed;
    } else if (counter < counter_max) {
        counter++;
    } else {
        last_ms++;
        counter = seed;
    }
    return assemble(last_ms, counter, random);
}

std::string uuid_to_text(const Uuid &uuid) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(36);
    for (const std::uint8_t byte : uuid) {
        if (dash_at(text.size()))
            text += '-';
        text += digits[byte >> 4];
        text += digits[byte & 0x0f];
    }
    return text;
}

std::optional<Uuid> uuid_from_text(std::string_view text) {
    if (text.size() != 36)
        return std::nullopt;
    Uuid uuid{};
    std::size_t nibbles = 0;
    for (std::size_t i = 0; i < text.size(); i++) {
        if (dash_at(i)) {
            if (text[i] != '-')
                return std::nullopt;
            continue;
        }
        const int value = hex_value(text[i]);
        if (value < 0)
            return std::nullopt;
        std::uint8_t &byte = uuid[nibbles++ / 2];
        byte = static_cast<std::uint8_t>(byte << 4 | value);
    }
    return uuid;
}

} // namespace chronicle::core
