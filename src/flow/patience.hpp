// The engine waits for nobody's transaction for long: who has cancelled, paused or signalled a run holds its lock until
// the transaction ends, perhaps for hours.
#pragma once

#include "pg/xact.hpp"

namespace chronicle::flow {

/// Within the scope a lock that is not to be had in this time is 55P03.
class PatienceScope {
public:
    explicit PatienceScope(int64 ms) { settings_.set("lock_timeout", std::to_string(ms).c_str()); }

private:
    pg::GucScope settings_;
};

/// A transaction of the scheduler. False: somebody has what it needs, and it is to be tried again soon.
template <typename Body> bool try_in_transaction(Body &&body) {
    constexpr int64 patience_ms = 100;
    try {
        pg::start_transaction();
        {
            PatienceScope patience(patience_ms);
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
