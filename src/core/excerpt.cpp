#include "core/excerpt.hpp"

#include <algorithm>

namespace chronicle::core {

namespace {

constexpr std::string_view ellipsis = "…";
constexpr std::size_t kept_end = 100; // bytes: what is said behind a quoted value

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The number of bytes of the character or escape that begins at `at` in a JSON string.
std::size_t unit_length(std::string_view text, std::size_t at) {
    if (text[at] == '\\')
        return at + 1 < text.size() && text[at + 1] == 'u' ? 6 : 2;
    std::size_t end = at + 1;
    while (end < text.size() && continues_character(text[end]))
        end++;
    return end - at;
}

} // namespace

std::string_view beginning(std::string_view text, std::size_t limit) {
    if (text.size() <= limit)
        return text;
    while (limit > 0 && continues_character(text[limit]))
        limit--;
    return text.substr(0, limit);
}

std::string excerpt(std::string_view text, std::size_t limit) {
    if (text.size() <= limit)
        return std::string(text);
    std::size_t end = text.size() - kept_end;
    while (end < text.size() && continues_character(text[end]))
        end++;
    return std::string(beginning(text, limit - kept_end)).append(ellipsis).append(text.substr(end));
}

std::string excerpt_of_json(std::string_view text, std::size_t limit) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
        result += text[at];
        if (text[at++] != '"')
            continue;
        const std::size_t begin = at;
        std::size_t kept = at; // where the string is cut
        while (at < text.size() && text[at] != '"') {
            at = std::min(at + unit_length(text, at), text.size());
            if (at - begin <= limit)
                kept = at;
        }
        result.append(text.substr(begin, kept - begin));
        if (kept < at)
            result.append(ellipsis);
        if (at < text.size())
            result += text[at++];
    }
    return result;
}

} // namespace chronicle::core
