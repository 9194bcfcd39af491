#include "core/pattern.hpp"

#include <new>
#include <stdexcept>
#include <string>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace chronicle::core {

namespace {

constexpr uint32_t step_limit = 1000000;
constexpr uint32_t heap_limit_kilobytes = 64 * 1024;
constexpr uint32_t group_limit = 100; // nested
constexpr uint32_t javascript = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX |
                                PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

template <typename T> using Handle = std::unique_ptr<T, void (*)(T *)>;

template <typename T> Handle<T> owned(T *made, void (*release)(T *)) {
    if (!made)
        throw std::bad_alloc();
    return {made, release};
}

std::string message_of(int error) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof(text));
    return reinterpret_cast<const char *>(text);
}

} // namespace

Result<Pattern> Pattern::compile(std::string_view text) {
    auto context = owned(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
    pcre2_set_compile_extra_options(context.get(), PCRE2_EXTRA_ALT_BSUX);
    pcre2_set_parens_nest_limit(context.get(), group_limit);
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile(units(text), text.size(), javascript, &error, &at, context.get());
    if (!code)
        return problem<Pattern>(message_of(error) + " (at byte " + std::to_string(at + 1) + ")");
    Pattern pattern;
    pattern.code_ = {code, [](pcre2_code *c) { pcre2_code_free(c); }};
    return ok(std::move(pattern));
}

bool Pattern::found_in(std::string_view text, Guard guard) const {
    if (guard)
        guard();
    auto context = owned(pcre2_match_context_create(nullptr), pcre2_match_context_free);
    pcre2_set_match_limit(context.get(), step_limit);
    pcre2_set_heap_limit(context.get(), heap_limit_kilobytes);
    auto found = owned(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
    int result = pcre2_match(code_.get(), units(text), text.size(), 0, PCRE2_NO_UTF_CHECK, found.get(), context.get());
    if (result == PCRE2_ERROR_NOMEMORY)
        throw std::bad_alloc();
    if (result < PCRE2_ERROR_NOMATCH)
        throw std::length_error("a regular expression takes too long on this text: " + message_of(result));
    return result >= 0;
}

} // namespace chronicle::core
