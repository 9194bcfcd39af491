// What compiling and matching patterns share: characters.
#pragma once

#include <string>
#include <string_view>

namespace chronicle::core {

// The code point at `at`, and moves on. What is no UTF-8 counts as its bytes.
inline char32_t next_code_point(std::string_view text, std::size_t &at) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned char first = byte(at++);
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
    if (more == 0 || at + static_cast<std::size_t>(more) > text.size())
        return first;
    char32_t c = first & (0x3f >> more);
    for (int i = 0; i < more; i++)
        c = (c << 6) | (byte(at++) & 0x3f);
    return c;
}

inline std::u32string code_points(std::string_view text) {
    std::u32string points;
    points.reserve(text.size());
    for (std::size_t at = 0; at < text.size();)
        points.push_back(next_code_point(text, at));
    return points;
}

inline bool is_word(char32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

} // namespace chronicle::core
