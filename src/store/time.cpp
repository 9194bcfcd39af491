// Halving: a row's time is looked at in the middle, and the half that the time lies in is taken, so a place among n
// numbers costs log2(n) index scans, whatever holes there are.
//
// Positions. Times do not rise strictly with them: a position is taken before the clock is read, the clock is slewed,
// and events of a run carry the times at which things happened, up to a batch (50 ms) before they were appended. Say
// that no event was recorded more than `slack` earlier than one at a lower position. Then
//
//   halving for at - slack finds p with time(p) >= at - slack, and the event before p has a time below that.
//   No q < p has time(q) >= at: the event before p would lie more than slack below it.
//
// so the answer is the first event from p on that was recorded at or after `at`. The walk there takes as many rows as
// were recorded in `slack`. Users' events and events of runs are two tables: each is asked, the smaller answer counts.
//
// Versions of one stream are recorded under its lock: their times fall only where the clock is set back.
#include "store/time.hpp"

#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "store/order.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace chronicle::store {

namespace {

constexpr TimestampTz slack = 10 * USECS_PER_SEC;
constexpr int recorded_at_column = 4; // of both tables

struct Place {
    int64 number;
    TimestampTz at;
};

// The first row whose number is at least `from`, in an index whose last column is the number, in column `column` of the
// table. prefix: the value of the column before it, if there is one.
struct Numbers {
    Oid table, index;
    int column;
    std::optional<int64> prefix;
    Snapshot snapshot;

    std::optional<Place> first_from(int64 from, int64 to) const {
        pg::IndexReader reader(table, index, snapshot);
        int key = 1;
        if (prefix)
            reader.key(key++, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(*prefix));
        reader.key(key, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
        reader.key(key, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(to));
        if (!reader.next())
            return std::nullopt;
        bool is_null;
        return Place{DatumGetInt64(reader.column(column, &is_null)),
                     DatumGetTimestampTz(reader.column(recorded_at_column, &is_null))};
    }

    // The greatest number in [low, high] recorded before `cutoff`; `low` itself is not looked at.
    int64 last_before(int64 low, int64 high, TimestampTz cutoff) const {
        while (low < high) {
            int64 middle = low + (high - low + 1) / 2;
            std::optional<Place> place = first_from(middle, high);
            if (place && place->at < cutoff)
                low = place->number;
            else
                high = middle - 1;
        }
        return low;
    }
};

// The smallest position up to `mark` recorded at or after `at`.
std::optional<int64> first_recorded_from(const Numbers &positions, TimestampTz at, int64 mark) {
    TimestampTz early = TIMESTAMP_NOT_FINITE(at) || at < MIN_TIMESTAMP + slack ? at : at - slack;
    int64 before = positions.last_before(0, mark, early);
    pg::IndexReader reader(positions.table, positions.index, positions.snapshot);
    reader.key(1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(before));
    reader.key(1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(mark));
    bool is_null;
    while (reader.next()) {
        if (DatumGetTimestampTz(reader.column(recorded_at_column, &is_null)) >= at)
            return DatumGetInt64(reader.column(positions.column, &is_null));
        pg::check_interrupts();
    }
    return std::nullopt;
}

} // namespace

int64 position_at(TimestampTz at) {
    const catalog::Objects &c = catalog::objects();
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    int64 mark = order::mark(snapshot);
    int64 nearest = mark + 1;
    for (const Numbers &positions : {Numbers{c.event, c.event_pkey, 1, std::nullopt, snapshot},
                                     Numbers{c.workflow_event, c.workflow_event_pkey, 1, std::nullopt, snapshot}})
        nearest = std::min(nearest, first_recorded_from(positions, at, mark).value_or(nearest));
    return nearest - 1;
}

int64 last_version_before(int64 stream_id, int64 low, int64 high, TimestampTz cutoff, Snapshot snapshot) {
    const catalog::Objects &c = catalog::objects();
    return Numbers{c.event, c.event_stream_version_key, 3, stream_id, snapshot}.last_before(low, high, cutoff);
}

} // namespace chronicle::store
