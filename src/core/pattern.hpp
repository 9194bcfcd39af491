// Regular expressions of JSON Schema (ECMA-262), by the library PCRE2 in its JavaScript mode. std::regex recurses once
// per character, so that a long text overflows the stack; PCRE2 keeps its backtracking in a heap of bounded size and
// counts its steps, so a pattern that would take exponential time ends with an error instead.
#pragma once

#include <memory>
#include <string_view>

#include "core/result.hpp"

struct pcre2_real_code_8;

namespace chronicle::core {

/// Called now and then by long work; it may throw to end it.
using Guard = void (*)();

class Pattern {
public:
    /// Problem: what PCRE2 says against it.
    static Result<Pattern> compile(std::string_view text);
    /// True when the pattern matches somewhere in the text (UTF-8, matched by code points). std::length_error when that
    /// takes more than a million steps, or 64 MB.
    bool found_in(std::string_view text, Guard guard) const;

private:
    std::shared_ptr<const pcre2_real_code_8> code_;
};

} // namespace chronicle::core
