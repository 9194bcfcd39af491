// What an error shows of a text of any length.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace chronicle::core {

/// The text, or its beginning and its end with "…" between them when it is longer than \p limit bytes (at least 200).
/// No UTF-8 character is cut in two.
std::string excerpt(std::string_view text, std::size_t limit);

/// The text's first characters, \p limit bytes at most: what a message quotes of what somebody wrote.
std::string_view beginning(std::string_view text, std::size_t limit);

/// JSON text whose strings are cut after \p limit bytes, with "…" at their end: it stays JSON.
std::string excerpt_of_json(std::string_view text, std::size_t limit);

} // namespace chronicle::core
