#include "core/names.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace chronicle::core {

namespace {

// Longer names are no slips of ours, and comparing them would cost too much.
constexpr std::size_t longest_name_compared = 64;

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
char lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

// Optimal string alignment: insert, delete, replace, or swap two neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    const std::size_t width = b.size() + 1;
    std::vector<std::size_t> before(width), above(width), row(width);
    for (std::size_t j = 0; j < width; j++)
        above[j] = j;
    for (std::size_t i = 1; i <= a.size(); i++) {
        row[0] = i;
        for (std::size_t j = 1; j < width; j++) {
            const std::size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({replace, above[j] + 1, row[j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(above);
        above.swap(row);
    }
    return above[b.size()];
}

std::string_view first_part(std::string_view name) { return name.substr(0, name.find('.')); }

} // namespace

std::string snake_case(std::string_view name) {
    std::string result;
    result.reserve(name.size() + 4);
    for (const char c : name) {
        if (is_upper(c) && !result.empty())
            result += '_';
        result += lower(c);
    }
    return result;
}

std::string camel_case(std::string_view name) {
    std::string result;
    result.reserve(name.size());
    for (std::size_t i = 0; i < name.size(); i++) {
        const bool joint = name[i] == '_' && i > 0 && i + 1 < name.size() && is_lower(name[i + 1]);
        result += joint ? upper(name[++i]) : name[i];
    }
    return result;
}

bool same_key(std::string_view a, std::string_view b) {
    if (a == b)
        return true;
    const bool one_is_snake = a.find('_') != std::string_view::npos || b.find('_') != std::string_view::npos;
    return one_is_snake && snake_case(a) == snake_case(b);
}

std::string lower_case(std::string_view text) {
    std::string result(text);
    for (char &c : result)
        c = lower(c);
    return result;
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view space = " \t\r\n";
    const std::size_t begin = text.find_first_not_of(space);
    if (begin == std::string_view::npos)
        return {};
    return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates) {
    if (name.empty() || name.size() > longest_name_compared)
        return {};
    const std::string wanted = lower_case(name);
    std::string_view nearest;
    std::size_t best = std::clamp<std::size_t>(name.size() / 3, 1, 3) + 1;
    for (const std::string_view candidate : candidates) {
        const std::size_t distance = edit_distance(wanted, lower_case(candidate));
        if (distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    if (!nearest.empty())
        return nearest;
    for (const std::string_view candidate : candidates)
        if (candidate.find('.') != std::string_view::npos && first_part(wanted) == first_part(candidate))
            return candidate;
    return {};
}

} // namespace chronicle::core
