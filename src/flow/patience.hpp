// The engine waits for nobody's transaction for long: who has cancelled, paused or signalled a run holds its lock until
// the transaction ends, perhaps for hours.
#pragma once

#include "pg/xact.hpp"

namespace chronicle::flow {

/// A transaction of the scheduler. False: somebody has what it needs, and it is to be tried again soon.
template <typename Body> bool try_in_transaction(Body &&body) {
    constexpr int64 patience_ms = 100;
    try {
        pg::start_transaction();
        {
            pg::LockTimeoutScope patience(patience_ms);
            body();
        }
        pg::commit_transaction();
        return true;
    } catch (const pg::Error &error) {
        pg::abort_transaction();
        if (!error.is_transient())
            throw;
        return false;
    } catch (...) {
        pg::abort_transaction();
        throw;
    }
}

} // namespace chronicle::flow
