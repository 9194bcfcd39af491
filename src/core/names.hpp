// Spellings of keys, and the nearest of several names for a hint.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace chronicle::core {

/// "maxAttempts" → "max_attempts"; a name in snake_case stays.
std::string snake_case(std::string_view name);

/// "max_attempts" → "maxAttempts"; a name in camelCase stays.
std::string camel_case(std::string_view name);

/// Whether two keys are the same but for snake_case and camelCase.
bool same_key(std::string_view a, std::string_view b);

/// ASCII letters in lower case.
std::string lower_case(std::string_view text);

/// Without spaces, tabs and line ends at both sides.
std::string_view trim(std::string_view text);

/// The candidate that \p name is most likely a slip of: the one at the smallest edit distance
/// (optimal string alignment, case aside) if that is small for its length, else one that shares its
/// first dotted part ("console.print" → "console.log"). Empty: none is near.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

} // namespace chronicle::core
