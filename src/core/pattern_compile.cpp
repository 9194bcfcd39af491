// Compiling patterns: parsing makes a tree, and the tree makes the program; counted repetitions repeat their part.
#include <algorithm>
#include <memory>
#include <optional>

#include "core/pattern.hpp"
#include "core/pattern_text.hpp"

namespace chronicle::core {

namespace {

constexpr std::size_t max_program = 20000;
constexpr std::size_t max_built = 10 * max_program; // nodes, counted as often as they are repeated
constexpr int max_groups = 100; // nested
constexpr uint32_t unlimited = 0xffffffff;

int hex_digit(char32_t c) {
    return c >= '0' && c <= '9'   ? static_cast<int>(c - '0')
           : c >= 'a' && c <= 'f' ? static_cast<int>(c - 'a') + 10
           : c >= 'A' && c <= 'F' ? static_cast<int>(c - 'A') + 10
                                  : -1;
}

} // namespace

// One use: parses and builds. The first problem ends it.
class PatternCompiler {
public:
    explicit PatternCompiler(std::string_view text) : text_(code_points(text)) {}

    Result<Pattern> run() {
        std::unique_ptr<Node> root = alternatives();
        if (problem_.empty() && at_ < text_.size())
            fail("unmatched \")\"");
        if (problem_.empty()) {
            build(*root);
            add({Pattern::Op::match});
        }
        return problem_.empty() ? ok(std::move(pattern_)) : problem<Pattern>(problem_);
    }

private:
    using Op = Pattern::Op;
    using CharacterSet = Pattern::CharacterSet;
    enum class Kind { empty, set, sequence, choice, repeat, assertion, look };
    struct Node {
        Kind kind = Kind::empty;
        uint32_t set = 0; // set: its number
        Op op = Op::match; // assertion, look
        uint32_t low = 0, high = unlimited; // repeat
        std::vector<std::unique_ptr<Node>> parts;
    };
    using NodePtr = std::unique_ptr<Node>;

    // --- parsing ---

    bool at_end() const { return at_ >= text_.size() || !problem_.empty(); }
    bool next_is(char32_t c) const { return !at_end() && text_[at_] == c; }
    bool take(char32_t c) { return next_is(c) && ++at_; }
    bool take(std::u32string_view word) {
        if (at_end() || text_.compare(at_, word.size(), word) != 0)
            return false;
        at_ += word.size();
        return true;
    }
    void fail(std::string problem) {
        if (problem_.empty())
            problem_ = std::move(problem);
    }

    static NodePtr node(Kind kind) {
        auto made = std::make_unique<Node>();
        made->kind = kind;
        return made;
    }
    NodePtr assertion(Op op) {
        NodePtr made = node(Kind::assertion);
        made->op = op;
        return made;
    }
    NodePtr set_node(CharacterSet set) {
        NodePtr made = node(Kind::set);
        made->set = static_cast<uint32_t>(pattern_.sets_.size());
        pattern_.sets_.push_back(std::move(set));
        return made;
    }
    NodePtr literal(char32_t c) { return set_node({{{c, c}}, false}); }

    NodePtr alternatives() {
        NodePtr choice = node(Kind::choice);
        do {
            NodePtr sequence = node(Kind::sequence);
            while (!at_end() && !next_is('|') && !next_is(')'))
                sequence->parts.push_back(term());
            choice->parts.push_back(std::move(sequence));
        } while (take('|'));
        return choice;
    }

    NodePtr term() {
        NodePtr atom = this->atom();
        uint32_t low = 0, high = unlimited;
        if (!quantifier(low, high))
            return atom;
        if (atom->kind == Kind::assertion)
            fail("nothing to repeat");
        take('?'); // lazy: the same matches
        if (low > high)
            fail("numbers out of order in a repetition");
        NodePtr repeat = node(Kind::repeat);
        repeat->low = low;
        repeat->high = high;
        repeat->parts.push_back(std::move(atom));
        return repeat;
    }

    bool quantifier(uint32_t &low, uint32_t &high) {
        if (take('*'))
            return true;
        if (take('+')) {
            low = 1;
            return true;
        }
        if (take('?')) {
            high = 1;
            return true;
        }
        return braces(low, high);
    }

    // {n}, {n,}, {n,m}; anything else in braces is text.
    bool braces(uint32_t &low, uint32_t &high) {
        std::size_t start = at_;
        if (!take('{'))
            return false;
        std::optional<uint32_t> first = number();
        std::optional<uint32_t> second = first;
        if (first && take(',')) {
            second = number();
            if (!second)
                second = unlimited;
        }
        if (!first || !take('}')) {
            at_ = start;
            return false;
        }
        low = *first;
        high = *second;
        return true;
    }

    std::optional<uint32_t> number() {
        if (at_end() || text_[at_] < '0' || text_[at_] > '9')
            return std::nullopt;
        uint64_t value = 0;
        for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; at_++)
            value = std::min<uint64_t>(value * 10 + (text_[at_] - '0'), max_program + 1);
        return static_cast<uint32_t>(value);
    }

    NodePtr atom() {
        char32_t c = text_[at_++];
        switch (c) {
        case '^':
            return assertion(Op::begin);
        case '$':
            return assertion(Op::end);
        case '.':
            return set_node({{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}, true});
        case '(':
            return group();
        case '[':
            return bracket();
        case '\\':
            return escape();
        case '*':
        case '+':
        case '?':
            fail("nothing to repeat");
            return node(Kind::empty);
        case '{': {
            at_--;
            uint32_t low, high;
            if (braces(low, high))
                fail("nothing to repeat");
            else
                at_++;
            return literal(c);
        }
        default:
            return literal(c);
        }
    }

    NodePtr group() {
        if (++depth_ > max_groups)
            fail("more than " + std::to_string(max_groups) + " nested groups");
        NodePtr made;
        if (take(U"?=") || take(U"?!")) {
            made = node(Kind::look);
            made->op = text_[at_ - 1] == '=' ? Op::ahead : Op::not_ahead;
        } else if (take(U"?<=") || take(U"?<!")) {
            fail("lookbehind is not supported");
        } else if (take(U"?<")) {
            while (!at_end() && !next_is('>'))
                at_++;
            take('>');
        } else if (!take(U"?:") && next_is('?')) {
            fail("unknown kind of group");
        }
        NodePtr inner = alternatives();
        if (!take(')'))
            fail("a group is not closed");
        depth_--;
        if (!made)
            return inner;
        made->parts.push_back(std::move(inner));
        return made;
    }

    // The set of \d, \w, \s and their opposites.
    static std::optional<CharacterSet> class_escape(char32_t c) {
        switch (c) {
        case 'd':
        case 'D':
            return CharacterSet{{{'0', '9'}}, c == 'D'};
        case 'w':
        case 'W':
            return CharacterSet{{{'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {'_', '_'}}, c == 'W'};
        case 's':
        case 'S':
            return CharacterSet{{{'\t', '\r'},
                                 {' ', ' '},
                                 {0xa0, 0xa0},
                                 {0x1680, 0x1680},
                                 {0x2000, 0x200a},
                                 {0x2028, 0x2029},
                                 {0x202f, 0x202f},
                                 {0x205f, 0x205f},
                                 {0x3000, 0x3000},
                                 {0xfeff, 0xfeff}},
                                c == 'S'};
        default:
            return std::nullopt;
        }
    }

    NodePtr escape() {
        if (at_end()) {
            fail("\\ at the end");
            return node(Kind::empty);
        }
        char32_t c = text_[at_];
        if (c == 'b' || c == 'B') {
            at_++;
            return assertion(c == 'b' ? Op::word_boundary : Op::no_word_boundary);
        }
        if ((c >= '1' && c <= '9') || c == 'k') {
            fail("backreferences are not supported");
            return node(Kind::empty);
        }
        if (std::optional<CharacterSet> set = class_escape(c)) {
            at_++;
            return set_node(std::move(*set));
        }
        return literal(character_escape());
    }

    // What stands after a backslash and means one character.
    char32_t character_escape() {
        char32_t c = text_[at_++];
        switch (c) {
        case 'f':
            return '\f';
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case 'v':
            return '\v';
        case '0':
            return 0;
        case 'c':
            if (!at_end() && ((text_[at_] | 0x20) >= 'a' && (text_[at_] | 0x20) <= 'z'))
                return text_[at_++] % 32;
            fail("\\c needs a letter");
            return 0;
        case 'x':
            return hex(2);
        case 'u':
            return unicode_escape();
        default:
            if (c < 128 && is_word(c) && c != '_')
                fail(std::string("unknown escape \\") + static_cast<char>(c));
            return c;
        }
    }

    char32_t hex(int digits) {
        char32_t value = 0;
        for (int i = 0; i < digits; i++) {
            int digit = at_end() ? -1 : hex_digit(text_[at_]);
            if (digit < 0) {
                fail("malformed hexadecimal escape");
                return 0;
            }
            value = value * 16 + static_cast<char32_t>(digit);
            at_++;
        }
        return value;
    }

    // \uHHHH, a pair of surrogates, or \u{H…}.
    char32_t unicode_escape() {
        if (take('{')) {
            char32_t value = 0;
            while (!at_end() && !next_is('}') && value <= 0x10ffff)
                value = value * 16 + hex(1);
            if (!take('}') || value > 0x10ffff)
                fail("malformed \\u{…}");
            return value;
        }
        char32_t high = hex(4);
        if (high >= 0xd800 && high < 0xdc00 && take(U"\\u")) {
            char32_t low = hex(4);
            if (low < 0xdc00 || low > 0xdfff)
                fail("malformed pair of surrogates");
            return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
        return high;
    }

    NodePtr bracket() {
        CharacterSet set;
        set.negated = take('^');
        while (!next_is(']')) {
            if (at_end()) {
                fail("[ is not closed");
                return node(Kind::empty);
            }
            std::optional<char32_t> low = bracket_member(set);
            if (!next_is('-') || at_ + 1 >= text_.size() || text_[at_ + 1] == ']') {
                if (low)
                    set.ranges.push_back({*low, *low});
                continue;
            }
            at_++; // the -
            std::optional<char32_t> high = bracket_member(set);
            if (low && high && *low > *high)
                fail("range out of order in [ ]");
            if (low && high) {
                set.ranges.push_back({*low, *high});
            } else { // as in [\d-x]: three members
                set.ranges.push_back({'-', '-'});
                for (std::optional<char32_t> c : {low, high})
                    if (c)
                        set.ranges.push_back({*c, *c});
            }
        }
        take(']');
        return set_node(std::move(set));
    }

    // One character, or nothing when it was a class, which is added to the set.
    std::optional<char32_t> bracket_member(CharacterSet &set) {
        if (at_end())
            return std::nullopt;
        if (!take('\\'))
            return text_[at_++];
        if (at_end()) {
            fail("\\ at the end");
            return std::nullopt;
        }
        if (take('b'))
            return '\b';
        if (std::optional<CharacterSet> known = class_escape(text_[at_])) {
            at_++;
            add_class(set, std::move(*known));
            return std::nullopt;
        }
        return character_escape();
    }

    static void add_class(CharacterSet &set, CharacterSet known) {
        if (!known.negated) {
            set.ranges.insert(set.ranges.end(), known.ranges.begin(), known.ranges.end());
            return;
        }
        std::sort(known.ranges.begin(), known.ranges.end());
        char32_t from = 0;
        for (const Pattern::Range &range : known.ranges) {
            if (range.first > from)
                set.ranges.push_back({from, range.first - 1});
            from = range.second + 1;
        }
        set.ranges.push_back({from, 0x10ffff});
    }

    // --- building ---

    uint32_t add(Pattern::Instruction instruction) {
        if (pattern_.program_.size() >= max_program)
            fail_size();
        else
            pattern_.program_.push_back(instruction);
        return static_cast<uint32_t>(pattern_.program_.size() - 1);
    }
    void fail_size() { fail("larger than " + std::to_string(max_program) + " instructions: use smaller repetitions"); }
    uint32_t here() const { return static_cast<uint32_t>(pattern_.program_.size()); }
    Pattern::Instruction &at(uint32_t i) { return pattern_.program_[i]; }

    void build(const Node &n) {
        if (++built_ > max_built) // repetitions of what adds no instruction
            fail_size();
        if (!problem_.empty())
            return;
        switch (n.kind) {
        case Kind::empty:
            break;
        case Kind::set:
            add({Op::character, n.set});
            break;
        case Kind::sequence:
            for (const NodePtr &part : n.parts)
                build(*part);
            break;
        case Kind::choice:
            build_choice(n);
            break;
        case Kind::repeat:
            build_repeat(n);
            break;
        case Kind::assertion:
            add({n.op});
            break;
        case Kind::look: {
            uint32_t look = add({n.op});
            build(*n.parts.front());
            add({Op::match});
            at(look).a = here();
            break;
        }
        }
    }

    void build_choice(const Node &n) {
        std::vector<uint32_t> ends;
        for (std::size_t i = 0; i < n.parts.size(); i++) {
            bool last = i + 1 == n.parts.size();
            uint32_t split = last ? 0 : add({Op::split});
            if (!last)
                at(split).a = here();
            build(*n.parts[i]);
            if (!last) {
                ends.push_back(add({Op::jump}));
                at(split).b = here();
            }
        }
        for (uint32_t end : ends)
            at(end).a = here();
    }

    void build_repeat(const Node &n) {
        const Node &part = *n.parts.front();
        for (uint32_t i = 0; i < n.low && problem_.empty(); i++)
            build(part);
        if (n.high == unlimited) {
            uint32_t split = add({Op::split});
            at(split).a = here();
            build(part);
            add({Op::jump, split});
            at(split).b = here();
            return;
        }
        std::vector<uint32_t> splits;
        for (uint32_t i = n.low; i < n.high && problem_.empty(); i++) {
            splits.push_back(add({Op::split}));
            at(splits.back()).a = here();
            build(part);
        }
        for (uint32_t split : splits)
            at(split).b = here();
    }

    std::u32string text_;
    std::size_t at_ = 0;
    int depth_ = 0;
    std::size_t built_ = 0;
    std::string problem_;
    Pattern pattern_;
};

Result<Pattern> Pattern::compile(std::string_view text) { return PatternCompiler(text).run(); }

} // namespace chronicle::core
