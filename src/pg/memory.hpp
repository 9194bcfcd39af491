// Memory contexts as scopes. While an exception unwinds they free nothing: the abort that follows does, after it has
// released what still points into them.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::pg {

/// Set while an abort takes away objects that outlived the C++ frames they were made in.
inline bool abandoning = false;

/// True when the scope that was opened at `exceptions_at_start` is left by an exception, or abandoned.
inline bool unwinding(int exceptions_at_start) noexcept {
    return abandoning || std::uncaught_exceptions() > exceptions_at_start;
}

/// Deletes an object whose server resources the abort has released, or will: its own memory is all that is left of it.
template <typename Object> void abandon(Object *object) noexcept {
    abandoning = true;
    delete object;
    abandoning = false;
}

/// Allocates in `target` until the end of the scope.
class MemorySwitch {
public:
    explicit MemorySwitch(MemoryContext target) : saved_(MemoryContextSwitchTo(target)) {}
    ~MemorySwitch() { MemoryContextSwitchTo(saved_); }
    MemorySwitch(const MemorySwitch &) = delete;
    MemorySwitch &operator=(const MemorySwitch &) = delete;

private:
    MemoryContext saved_;
};

/// A child context that is current for the scope and deleted at its end.
class MemoryScope {
public:
    explicit MemoryScope(const char *name)
        : saved_(CurrentMemoryContext), exceptions_(std::uncaught_exceptions()),
          own_(call([&]() noexcept { return AllocSetContextCreateInternal(saved_, name, ALLOCSET_DEFAULT_SIZES); })) {
        MemoryContextSwitchTo(own_);
    }
    ~MemoryScope() {
        MemoryContextSwitchTo(saved_);
        if (!unwinding(exceptions_))
            MemoryContextDelete(own_);
        else if (CurTransactionContext) // of the savepoint that is about to be undone, if there is one
            MemoryContextSetParent(own_, CurTransactionContext);
    }
    MemoryScope(const MemoryScope &) = delete;
    MemoryScope &operator=(const MemoryScope &) = delete;
    void reset() { MemoryContextReset(own_); }
    MemoryContext outer() const { return saved_; }

private:
    MemoryContext saved_;
    int exceptions_;
    MemoryContext own_;
};

} // namespace chronicle::pg
