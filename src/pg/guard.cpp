#include "pg/guard.hpp"

#include <new>
#include <stdexcept>

namespace chronicle::pg {

Error current_error() {
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

namespace {

// What leaves an entry point. It is storage only: when the catch block is left, the exception object is gone, and this
// remains. Nothing in it needs a destructor when it jumps, because report() moves the record out and releases it.
class Outgoing {
public:
    Outgoing() {}
    ~Outgoing() {}
    /// In a catch block. Describing takes memory; without any, the report below needs none of ours.
    void take_current_exception() noexcept {
        try {
            new (&error_) Error(current_error());
            described_ = true;
        } catch (...) {
        }
    }
    [[noreturn]] void report() {
        if (described_)
            Error::report(std::move(error_));
        ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
        pg_unreachable();
    }

private:
    bool described_ = false;
    union {
        Error error_;
    };
};

// The server's error as an exception; its own memory may be at an end while it is copied.
std::exception_ptr take_server_error() noexcept {
    sigjmp_buf *const saved_stack = PG_exception_stack;
    ErrorData *volatile raised = nullptr;
    sigjmp_buf local;
    if (sigsetjmp(local, 0) == 0) {
        PG_exception_stack = &local;
        raised = CopyErrorData();
    }
    PG_exception_stack = saved_stack;
    FlushErrorState();
    if (!raised)
        return std::make_exception_ptr(std::bad_alloc());
    std::exception_ptr error;
    try {
        error = std::make_exception_ptr(Error(*raised));
    } catch (...) {
        error = std::current_exception(); // bad_alloc: the copy did not fit
    }
    FreeErrorData(raised);
    return error;
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
    *error = take_server_error();
    return false;
}

Datum entry(FunctionCallInfo fcinfo, Datum (*body)(FunctionCallInfo)) {
    Outgoing outgoing;
    try {
        return body(fcinfo);
    } catch (...) {
        outgoing.take_current_exception();
    }
    outgoing.report();
}

void entry_void(void (*body)(void *), void *argument) {
    Outgoing outgoing;
    try {
        body(argument);
        return;
    } catch (...) {
        outgoing.take_current_exception();
    }
    outgoing.report();
}

void check_interrupts() {
    if (INTERRUPTS_PENDING_CONDITION())
        call([]() noexcept { ProcessInterrupts(); });
}

} // namespace chronicle::pg
