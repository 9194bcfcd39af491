// Where the log's rows come from: scans in position order.
#pragma once

#include "pg/relation.hpp"

#include <unordered_set>

namespace chronicle::store {

/// The part of the log that is wanted. Backwards: from below `after` down.
struct LogRange {
    std::optional<int64> after;
    int64 mark; // the last position that may be read
    bool backwards;
};

class LogSource {
public:
    explicit LogSource(bool rows_of_runs) : of_runs(rows_of_runs) {}
    virtual ~LogSource() = default;
    /// To the next row, or the end.
    virtual void advance() = 0;
    virtual const pg::RowReader &row() const = 0;

    const bool of_runs;
    bool at_end = false;
    int64 position = 0; // of the current row
};

/// A table by an index on position, or of one kind by the index on (kind, position).
std::unique_ptr<LogSource> scan_table(Oid table, Oid index, std::optional<int32> kind, const LogRange &range,
                                      Snapshot snapshot);

/// Users' events of so many kinds that a merge of one scan for each would hold too many scans open. `count`: how many
/// events are wanted, as far as is known.
std::unique_ptr<LogSource> scan_many_kinds(std::vector<int32> kinds, int64 count, const LogRange &range,
                                           Snapshot snapshot);

} // namespace chronicle::store
