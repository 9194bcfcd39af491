#include "pg/guard.hpp"

#include <new>

namespace chronicle::pg {

namespace {

// An exception that is not ours, as an error with a proper SQLSTATE.
Error describe_current_exception() {
    try {
        throw;
    } catch (const Error &e) {
        return e;
    } catch (const std::bad_alloc &) {
        return Error(ERRCODE_OUT_OF_MEMORY, {.message = "out of memory"});
    } catch (const std::invalid_argument &e) {
        return Error(ERRCODE_INVALID_PARAMETER_VALUE, {.message = e.what()});
    } catch (const std::out_of_range &e) {
        return Error(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, {.message = e.what()});
    } catch (const std::length_error &e) {
        return Error(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = e.what()});
    } catch (const std::exception &e) {
        return Error(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                     {.message = std::string("chronicle: unexpected C++ exception: ") + e.what(),
                      .hint = "This is a bug in chronicle: please report it with the statement that raised it."});
    } catch (...) {
        return Error(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                     {.message = "chronicle: unexpected C++ exception of an unknown type",
                      .hint = "This is a bug in chronicle: please report it with the statement that raised it."});
    }
}

// Storage for the one error on its way out: when the catch block is left, the exception object is gone, this remains.
union Outgoing {
    Outgoing() {}
    ~Outgoing() {}
    Error error;
};

[[noreturn]] void leave(Outgoing &outgoing) {
    // report() moves the record out and releases it, so nothing is left to destroy when it jumps.
    Error::report(std::move(outgoing.error));
}

} // namespace

bool run_guarded(void (*body)(void *), void *argument, std::exception_ptr *error) noexcept {
    sigjmp_buf *const saved_stack = PG_exception_stack;
    ErrorContextCallback *const saved_callbacks = error_context_stack;
    const MemoryContext saved_memory = CurrentMemoryContext;
    sigjmp_buf local;
    if (sigsetjmp(local, 0) == 0) {
        PG_exception_stack = &local;
        body(argument);
        PG_exception_stack = saved_stack;
        error_context_stack = saved_callbacks;
        return true;
    }
    PG_exception_stack = saved_stack;
    error_context_stack = saved_callbacks;
    MemoryContextSwitchTo(saved_memory);
    ErrorData *raised = CopyErrorData();
    FlushErrorState();
    *error = std::make_exception_ptr(Error(*raised));
    FreeErrorData(raised);
    return false;
}

Datum entry(FunctionCallInfo fcinfo, Datum (*body)(FunctionCallInfo)) {
    Outgoing outgoing;
    try {
        return body(fcinfo);
    } catch (...) {
        new (&outgoing.error) Error(describe_current_exception());
    }
    leave(outgoing);
}

void entry_void(void (*body)(void *), void *argument) {
    Outgoing outgoing;
    try {
        body(argument);
        return;
    } catch (...) {
        new (&outgoing.error) Error(describe_current_exception());
    }
    leave(outgoing);
}

void check_interrupts() {
    if (INTERRUPTS_PENDING_CONDITION())
        call([]() noexcept { ProcessInterrupts(); });
}

} // namespace chronicle::pg
