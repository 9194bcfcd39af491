// The seam between C++ and PostgreSQL: every call goes through one of two doors.
//
//   C → C++   entry():  PostgreSQL calls us. Every exception is caught, every destructor has run, and only then the
//                       error is reported by longjmp.
//   C++ → C   call():   we call PostgreSQL where it may raise. The lambda is the only frame that a longjmp can cross:
//                       it must be noexcept, and own nothing that needs a destructor. The error comes back as
//                       pg::Error.
//
// Nobody else catches, throws across, or jumps. docs/error-handling.md tells the whole story.
#pragma once

#include "pg/error.hpp"

namespace chronicle::pg {

/// Runs `body(argument)` under a setjmp of its own; true, or false with `*error` set. Out of line on purpose: what the
/// caller's variables hold cannot sit in a register of the frame that is jumped back to.
bool run_guarded(void (*body)(void *), void *argument, std::exception_ptr *error) noexcept;

/// Calls PostgreSQL code that may raise; its error is thrown as pg::Error.
template <typename Body> auto call(Body &&body) -> std::invoke_result_t<Body &> {
    using Result = std::invoke_result_t<Body &>;
    static_assert(std::is_nothrow_invocable_v<Body &>, "a guarded lambda must be noexcept: it is left by longjmp");
    static_assert(std::is_void_v<Result> || std::is_trivially_destructible_v<Result>,
                  "a guarded lambda returns only what needs no destructor");
    std::exception_ptr error;
    if constexpr (std::is_void_v<Result>) {
        auto thunk = [](void *argument) { (*static_cast<std::remove_reference_t<Body> *>(argument))(); };
        if (!run_guarded(thunk, &body, &error))
            std::rethrow_exception(std::move(error));
    } else {
        struct Frame {
            std::remove_reference_t<Body> *body;
            Result result;
        } frame{&body, {}};
        auto thunk = [](void *argument) {
            Frame *f = static_cast<Frame *>(argument);
            f->result = (*f->body)();
        };
        if (!run_guarded(thunk, &frame, &error))
            std::rethrow_exception(std::move(error));
        return frame.result;
    }
}

/// The exception that is being handled (in a catch block), as an error with a proper SQLSTATE: one of PostgreSQL's or
/// ours as it is, 53200 for bad_alloc, 38000 for what nobody expected.
Error current_error();

/// The wrapper of every entry point: SQL functions, hooks, callbacks, worker mains.
Datum entry(FunctionCallInfo fcinfo, Datum (*body)(FunctionCallInfo));
void entry_void(void (*body)(void *), void *argument);

/// The same for a body given as a lambda (it may own what it likes, and throw).
template <typename Body> void entry(Body &&body) {
    entry_void([](void *argument) { (*static_cast<std::remove_reference_t<Body> *>(argument))(); }, &body);
}

/// CHECK_FOR_INTERRUPTS for C++ frames.
void check_interrupts();

} // namespace chronicle::pg

/// Defines the SQL-callable function `name`; the braces that follow are its C++ body (argument: fcinfo).
#define CHRONICLE_FUNCTION(name)                                                                                       \
    static Datum name##_body(FunctionCallInfo fcinfo);                                                                 \
    extern "C" {                                                                                                       \
    PG_FUNCTION_INFO_V1(name);                                                                                         \
    PGDLLEXPORT Datum name(FunctionCallInfo fcinfo) { return chronicle::pg::entry(fcinfo, name##_body); }              \
    }                                                                                                                  \
    static Datum name##_body([[maybe_unused]] FunctionCallInfo fcinfo)
