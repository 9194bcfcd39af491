// Small tables of ours that processes keep in memory (access levels, event types, aggregates …): one way to know when
// to read them again. Whoever changes one says so; the relation cache's invalidations carry the word to all processes
// when that transaction commits, and PostgreSQL allows only a few callbacks, so there is one for all tables.
//
// Read the rows under a pg::LatestSnapshotScope (statements with read_only = true): otherwise a REPEATABLE READ
// transaction would cache what was true when it began, and keep it.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::catalog {

/// A table of schema chronicle_data. Constant-initialised: for statics.
class CachedTable {
public:
    constexpr explicit CachedTable(const char *name) : name_(name) {}
    /// A number that is another one when the content may have changed since. 0 is never returned.
    uint64 generation();
    /// After a change of rows: every process reads them again once this transaction has committed, this one from now.
    void changed();

private:
    friend void forget_cached_tables(Oid relation);
    const char *name_;
    Oid oid_ = InvalidOid;
    uint64 catalog_ = 0, generation_ = 0;
    CachedTable *next_ = nullptr;
    bool listed_ = false;
};

} // namespace chronicle::catalog
