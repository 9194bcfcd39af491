// Matching: a run keeps the set of instructions at which the matcher may stand.
#include "core/pattern.hpp"

#include "core/pattern_text.hpp"

namespace chronicle::core {

namespace {

constexpr std::size_t guard_every = 1 << 16; // steps

} // namespace

bool Pattern::CharacterSet::contains(char32_t c) const {
    for (const Range &range : ranges)
        if (c >= range.first && c <= range.second)
            return !negated;
    return negated;
}

// One run over a text. Lookaheads are runs of their own, from the place where they stand.
class PatternRun {
public:
    PatternRun(const Pattern &pattern, const std::u32string &text, Guard guard, std::size_t &steps)
        : pattern_(pattern), text_(text), guard_(guard), steps_(steps), seen_(pattern.program_.size(), 0) {
        steps_ += seen_.size();
    }

    // From `start` on; anchored: there and nowhere later.
    bool run(uint32_t entry, std::size_t start, bool anchored) {
        std::vector<uint32_t> now, then;
        for (std::size_t at = start;; at++) {
            generation_++;
            then.clear();
            if (at == start || !anchored)
                now.push_back(entry);
            for (std::size_t i = 0; i < now.size(); i++)
                if (follow(now[i], at, then))
                    return true;
            if (at >= text_.size() || (then.empty() && anchored))
                return false;
            now.swap(then);
            step(now, at);
        }
    }

private:
    // All that is reached from `from` without a character; `then` gets the character instructions. True: a match.
    bool follow(uint32_t from, std::size_t at, std::vector<uint32_t> &then) {
        stack_.assign(1, from);
        while (!stack_.empty()) {
            uint32_t pc = stack_.back();
            stack_.pop_back();
            count();
            if (seen_[pc] == generation_)
                continue;
            seen_[pc] = generation_;
            const Pattern::Instruction &i = pattern_.program_[pc];
            switch (i.op) {
            case Pattern::Op::match:
                return true;
            case Pattern::Op::character:
                then.push_back(pc);
                break;
            case Pattern::Op::split:
                stack_.push_back(i.a);
                stack_.push_back(i.b);
                break;
            case Pattern::Op::jump:
                stack_.push_back(i.a);
                break;
            case Pattern::Op::ahead:
            case Pattern::Op::not_ahead:
                if (PatternRun(pattern_, text_, guard_, steps_).run(pc + 1, at, true) == (i.op == Pattern::Op::ahead))
                    stack_.push_back(i.a);
                break;
            default:
                if (holds(i.op, at))
                    stack_.push_back(pc + 1);
            }
        }
        return false;
    }

    bool holds(Pattern::Op op, std::size_t at) const {
        if (op == Pattern::Op::begin)
            return at == 0;
        if (op == Pattern::Op::end)
            return at == text_.size();
        bool before = at > 0 && is_word(text_[at - 1]), after = at < text_.size() && is_word(text_[at]);
        return (before != after) == (op == Pattern::Op::word_boundary);
    }

    // Over the character at `at`: what stands before it goes on behind it.
    void step(std::vector<uint32_t> &standing, std::size_t at) {
        std::size_t kept = 0;
        for (uint32_t pc : standing) {
            count();
            if (pattern_.sets_[pattern_.program_[pc].a].contains(text_[at]))
                standing[kept++] = pc + 1;
        }
        standing.resize(kept);
    }

    void count() {
        if (++steps_ < guard_every)
            return;
        steps_ = 0;
        if (guard_)
            guard_();
    }

    const Pattern &pattern_;
    const std::u32string &text_;
    Guard guard_;
    std::size_t &steps_; // since the guard was called
    std::vector<uint64_t> seen_;
    std::vector<uint32_t> stack_;
    uint64_t generation_ = 0;
};

bool Pattern::found_in(std::string_view text, Guard guard) const {
    std::size_t steps = 0;
    std::u32string points = code_points(text);
    return PatternRun(*this, points, guard, steps).run(0, 0, false);
}

} // namespace chronicle::core
