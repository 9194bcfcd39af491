// Deferred constraints of users' code in an executor.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::worker {

/// What is deferred is checked now; from then on the transaction defers nothing.
void check_deferred_constraints();

/// Made before a node's code runs, which shares its transaction with others'.
class ConstraintWatch {
public:
    ConstraintWatch();
    /// What the code has deferred is checked now, inside the node's savepoint: a violation is the node's failure.
    /// True: the transaction is not as it began, so no other node's code may run in it.
    bool check();

private:
    uint64 set_before_;
};

} // namespace chronicle::worker
