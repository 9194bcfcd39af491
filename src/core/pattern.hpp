// Regular expressions of JSON Schema (ECMA-262), matched in time linear in the text.
//
// std::regex and most engines try one way after the other: a bad pattern takes exponential time, and std::regex
// recurses once per character, so that a long text overflows the stack. This one follows all ways at once (Thompson's
// construction): time is text × program, memory is the program, and nothing recurses but nested groups while parsing.
// The price: no backreferences and no lookbehind, which compile() refuses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.hpp"

namespace chronicle::core {

/// Called now and then by long work; it may throw to end it.
using Guard = void (*)();

class Pattern {
public:
    /// Problem: not the syntax of ECMA-262 (without flags), something of it that is not supported (backreferences,
    /// lookbehind, \p{…}), or too large a program.
    static Result<Pattern> compile(std::string_view text);
    /// True when the pattern matches somewhere in the text (UTF-8, matched by code points).
    bool found_in(std::string_view text, Guard guard) const;

private:
    friend class PatternCompiler;
    friend class PatternRun;

    using Range = std::pair<char32_t, char32_t>; // both included
    struct CharacterSet {
        std::vector<Range> ranges;
        bool negated = false;
        bool contains(char32_t c) const;
    };
    enum class Op : uint8_t {
        character,
        split,
        jump,
        begin,
        end,
        word_boundary,
        no_word_boundary,
        ahead,
        not_ahead,
        match
    };
    // character: `a` is the set. split: go on at `a` and at `b`. jump: at `a`. (not_)ahead: what follows this
    // instruction up to its match is the condition; go on at `a`.
    struct Instruction {
        Op op;
        uint32_t a = 0, b = 0;
    };

    std::vector<Instruction> program_;
    std::vector<CharacterSet> sets_;
};

} // namespace chronicle::core
