#include <gtest/gtest.h>

#include <stdexcept>

#include "core/pattern.hpp"

namespace chronicle::core {
namespace {

bool found(std::string_view pattern, std::string_view text) {
    Result<Pattern> compiled = Pattern::compile(pattern);
    EXPECT_TRUE(compiled) << pattern << ": " << compiled.problem;
    return compiled && compiled->found_in(text, nullptr);
}

std::string problem_of(std::string_view pattern) { return Pattern::compile(pattern).problem; }

TEST(Pattern, FindsAnywhereUnlessAnchored) {
    EXPECT_TRUE(found("b", "abc"));
    EXPECT_TRUE(found("", ""));
    EXPECT_FALSE(found("^b", "abc"));
    EXPECT_FALSE(found("b$", "abc"));
    EXPECT_TRUE(found("^abc$", "abc"));
    EXPECT_FALSE(found("^abc$", "abc\n"));
    EXPECT_FALSE(found("x", ""));
}

TEST(Pattern, Repetitions) {
    EXPECT_TRUE(found("^a*$", ""));
    EXPECT_TRUE(found("^a*$", "aaa"));
    EXPECT_FALSE(found("^a+$", ""));
    EXPECT_TRUE(found("^ab?c$", "ac"));
    EXPECT_TRUE(found("^a{2,3}$", "aa"));
    EXPECT_TRUE(found("^a{2,3}$", "aaa"));
    EXPECT_FALSE(found("^a{2,3}$", "a"));
    EXPECT_FALSE(found("^a{2,3}$", "aaaa"));
    EXPECT_TRUE(found("^a{2,}$", "aaaaaa"));
    EXPECT_TRUE(found("^a{2}$", "aa"));
    EXPECT_TRUE(found("^(ab){2}?$", "abab"));
    EXPECT_TRUE(found("^.{1,500}$", std::string(500, 'x')));
    EXPECT_FALSE(found("^.{1,500}$", std::string(501, 'x')));
    EXPECT_TRUE(found("^(a*)*$", "aaa"));
    EXPECT_TRUE(found("^(a|b*)+c$", "abbac"));
    EXPECT_TRUE(found("^a{0}$", ""));
}

TEST(Pattern, AlternativesAndGroups) {
    EXPECT_TRUE(found("^(cat|dog|)$", "dog"));
    EXPECT_TRUE(found("^(cat|dog|)$", ""));
    EXPECT_FALSE(found("^(cat|dog)$", "catdog"));
    EXPECT_TRUE(found("^(?:a(?<name>b))+$", "abab"));
    EXPECT_TRUE(found("a|^b", "xa"));
    EXPECT_FALSE(found("a$|^b", "ab"));
}

TEST(Pattern, Classes) {
    EXPECT_TRUE(found("^[a-f0-9]+$", "beef42"));
    EXPECT_FALSE(found("^[^a-f]+$", "xa"));
    EXPECT_TRUE(found("^[\\d.-]+$", "1.2-3"));
    EXPECT_TRUE(found("^[]", "[") == false);
    EXPECT_TRUE(found("^[^]$", "\n"));
    EXPECT_TRUE(found("^[\\D]$", "x"));
    EXPECT_FALSE(found("^[\\W]$", "x"));
    EXPECT_TRUE(found("^[a\\]b]+$", "a]b"));
    EXPECT_TRUE(found("^[\\w.-]+$", "a-."));
    EXPECT_TRUE(found("^[+--]+$", "+,-"));
    EXPECT_TRUE(found("\\d", "a1"));
    EXPECT_FALSE(found("^\\D$", "1"));
    EXPECT_TRUE(found("^\\w+$", "aZ_9"));
    EXPECT_FALSE(found("\\w", "é"));
    EXPECT_TRUE(found("^\\s+$", " \t\r\n"));
    EXPECT_FALSE(found("\\s", "x"));
    EXPECT_TRUE(found("^\\S$", "x"));
    EXPECT_FALSE(found("^.$", "\n"));
}

TEST(Pattern, CodePointsNotBytes) {
    EXPECT_TRUE(found("^.$", "é"));
    EXPECT_TRUE(found("^.{2}$", "🐘x"));
    EXPECT_TRUE(found("^[à-ÿ]+$", "éà"));
    EXPECT_TRUE(found("^\\u00e9$", "é"));
    EXPECT_TRUE(found("^\\u{1F418}$", "🐘"));
    EXPECT_TRUE(found("^\\x41$", "A"));
}

TEST(Pattern, Escapes) {
    EXPECT_TRUE(found("^\\/\\.\\-\\$\\{\\}$", "/.-${}"));
    EXPECT_TRUE(found("^a{b}{,3}$", "a{b}{,3}"));
    EXPECT_TRUE(found("^{$", "{"));
    EXPECT_TRUE(found("^}]$", "}]"));
    EXPECT_TRUE(found("^\\cJ\\t$", "\n\t"));
}

TEST(Pattern, Boundaries) {
    EXPECT_TRUE(found("\\bcat\\b", "a cat."));
    EXPECT_FALSE(found("\\bcat\\b", "concat"));
    EXPECT_TRUE(found("\\Bcat", "concat"));
}

TEST(Pattern, Lookahead) {
    EXPECT_TRUE(found("^(?=.*\\d)(?=.*[a-z]).{4,}$", "abc1"));
    EXPECT_FALSE(found("^(?=.*\\d)(?=.*[a-z]).{4,}$", "abcd"));
    EXPECT_TRUE(found("^(?!admin$).+$", "administrator"));
    EXPECT_FALSE(found("^(?!admin$).+$", "admin"));
    EXPECT_TRUE(found("a(?=b(?!c))", "abcabd"));
}

TEST(Pattern, Backwards) {
    EXPECT_TRUE(found("(?<=a)b", "ab"));
    EXPECT_FALSE(found("(?<!a)b", "ab"));
    EXPECT_TRUE(found("^(.)\\1$", "aa"));
    EXPECT_FALSE(found("^(.)\\1$", "ab"));
}

TEST(Pattern, WhatIsRefused) {
    for (const char *bad :
         {"(", ")", "a)", "(a", "[a", "*", "+a", "?", "a{2,1}", "\\", "[\\", "[b-a]", "[\\w-.]", "\\u{110000}"})
        EXPECT_NE(problem_of(bad), "") << bad;
    EXPECT_EQ(problem_of("a[b"), "missing terminating ] for character class (at byte 4)");
}

// Each of these would take for ever, or go deep into the stack.
TEST(Pattern, TimeAndMemoryAreBounded) {
    std::string text(30000, 'a');
    EXPECT_THROW(found("^(a+)+$", text + "b"), std::length_error);
    EXPECT_THROW(found("^(a|aa)+$", text + "b"), std::length_error);
    EXPECT_THROW(found("^(.|\\n)*$", std::string(10000000, 'x')), std::length_error);
    EXPECT_TRUE(found("^(.|\\n)*$", std::string(100000, 'x')));
}

TEST(Pattern, SizeIsBounded) {
    EXPECT_NE(problem_of("((a{1000}){1000}){1000}"), "");
    EXPECT_NE(problem_of(std::string(5000, '(') + std::string(5000, ')')), "");
    EXPECT_EQ(problem_of("a{10000}"), "");
}

struct Stop {};
TEST(Pattern, TheGuardIsAsked) {
    Result<Pattern> pattern = Pattern::compile("a");
    ASSERT_TRUE(pattern);
    EXPECT_THROW(pattern->found_in("a", [] { throw Stop(); }), Stop);
}

} // namespace
} // namespace chronicle::core
