// Global order: who may have positions that are not visible yet. The algorithm is told in order.cpp.
#pragma once

#include "pg/memory.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::store::order {

/// Shared memory: its size, and its set-up at server start.
size_t shared_size();
void init_shared();

/// Positions first … first + count - 1 for this transaction, and the mark at that moment.
struct Allocation {
    int64 first;
    int64 floor;
};

/// At most so many at once.
inline constexpr int max_allocation = 4096;

/// Gives `count` (1 … max_allocation) positions to this transaction. The caller holds its stream's lock and has
/// passed every check: from here to the end of the transaction the positions hold readers back.
Allocation allocate(int count);

/// True when this transaction has been given positions (also in a savepoint that is still alive).
bool transaction_has_appended();
/// The first of them.
std::optional<int64> first_held();

/// Every event at or below the mark is visible to `snapshot`, or never will be.
int64 mark(Snapshot snapshot);

/// A restore sets the sequence of positions at its end; whoever appended before that has made us remember a lower one.
/// Each session looks at its first use, the scheduler now and then (it may cost what is left of a block of positions).
void follow_sequence();

/// The greatest position that was given to anybody.
int64 last_given();

/// Session state of last_position().
void set_last_position(int64 position);
int64 last_position(); // 0: none

/// A call that fails is no append: last_position() stays what it was.
class LastPositionScope {
public:
    LastPositionScope() : before_(last_position()), exceptions_(std::uncaught_exceptions()) {}
    ~LastPositionScope() {
        if (pg::unwinding(exceptions_))
            set_last_position(before_);
    }
    LastPositionScope(const LastPositionScope &) = delete;
    LastPositionScope &operator=(const LastPositionScope &) = delete;

private:
    int64 before_;
    int exceptions_;
};

} // namespace chronicle::store::order
