// Deferred constraints of a node's code.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::flow {

/// What is deferred is checked now; from then on the transaction defers nothing.
void check_deferred_constraints();

/// Made before a node's code runs.
class ConstraintWatch {
public:
    ConstraintWatch();
    /// What the code has deferred is checked now, inside the node's savepoint: a violation is the node's failure.
    /// True: the transaction is not as it began, so no other node's code may run in it.
    bool check();

private:
    uint64 set_before_;
};

} // namespace chronicle::flow
