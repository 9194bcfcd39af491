#include "store/log_source.hpp"

#include "catalog/objects.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/fmgroids.h"
}

namespace chronicle::store {

namespace {

// Always two keys on the position.
void bound_position(pg::IndexReader &reader, int column, const LogRange &range) {
    if (range.backwards)
        reader.key(column, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(range.after.value_or(PG_INT64_MAX)));
    else
        reader.key(column, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(range.after.value_or(0)));
    reader.key(column, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(range.mark));
}

int64 position_of(const pg::RowReader &reader) {
    bool is_null;
    return DatumGetInt64(reader.column(1, &is_null));
}
int32 kind_of_row(const pg::RowReader &reader) {
    bool is_null;
    return DatumGetInt32(reader.column(6, &is_null));
}

class TableScan : public LogSource {
public:
    TableScan(Oid table, Oid index, std::optional<int32> kind, const LogRange &range, Snapshot snapshot)
        : LogSource(table == catalog::objects().workflow_event), reader_(table, index, snapshot),
          backwards_(range.backwards) {
        if (kind)
            reader_.key(1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(*kind));
        bound_position(reader_, kind ? 2 : 1, range);
    }
    void advance() override {
        at_end = reader_.next(backwards_) == nullptr;
        if (!at_end)
            position = position_of(reader_);
    }
    const pg::RowReader &row() const override { return reader_; }

private:
    pg::IndexReader reader_;
    bool backwards_;
};

// It begins with the whole log, and leaves out what is of other kinds. When too much is, it goes on by batches: the
// next `batch` positions of all these kinds are found with one scan after the other, each left as soon as it comes to a
// position that is beyond those found already; then their rows are read in order. So kinds that are rare together cost
// one look into the index for each of them, and not the log.
class ManyKinds : public LogSource {
public:
    ManyKinds(std::vector<int32> kinds, int64 count, const LogRange &range, Snapshot snapshot)
        : LogSource(false), kinds_(std::move(kinds)), wanted_(kinds_.begin(), kinds_.end()), range_(range),
          snapshot_(snapshot), batch_(static_cast<size_t>(std::clamp<int64>(count, 128, 8192))),
          patience_(4 * kinds_.size()), log_(catalog::objects().event, catalog::objects().event_pkey, snapshot),
          by_kind_(catalog::objects().event, catalog::objects().event_kind_position, snapshot),
          places_(catalog::objects().event) {
        bound_position(log_, 1, range);
    }

    void advance() override {
        if (!by_batches_ && advance_in_log())
            return;
        while (next_ < found_.size() || find_batch()) {
            const Found &f = found_[next_++];
            if (places_.read(f.place, snapshot_)) {
                position = f.position;
                return;
            }
        }
        at_end = true;
    }
    const pg::RowReader &row() const override {
        return by_batches_ ? static_cast<const pg::RowReader &>(places_) : log_;
    }

private:
    struct Found {
        int64 position;
        ItemPointerData place;
    };

    // False when the log is over, or too little of it is wanted.
    bool advance_in_log() {
        for (size_t passed = 0; passed <= patience_; passed++) {
            if (!log_.next(range_.backwards)) {
                by_batches_ = all_found_ = true;
                return false;
            }
            position = position_of(log_);
            range_.after = position;
            if (wanted_.contains(kind_of_row(log_)))
                return true;
            pg::check_interrupts();
        }
        by_batches_ = true;
        return false;
    }

    bool before(const Found &a, const Found &b) const {
        return range_.backwards ? a.position > b.position : a.position < b.position;
    }

    bool find_batch() {
        if (all_found_)
            return false;
        auto order = [this](const Found &a, const Found &b) { return before(a, b); };
        found_.clear(); // a heap: the last in order is on top
        for (int32 kind : kinds_) {
            by_kind_.restart();
            by_kind_.key(1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(kind));
            bound_position(by_kind_, 2, range_);
            while (by_kind_.next(range_.backwards)) {
                Found f{position_of(by_kind_), by_kind_.place()};
                if (found_.size() == batch_ && !before(f, found_.front()))
                    break;
                if (found_.size() == batch_) {
                    std::pop_heap(found_.begin(), found_.end(), order);
                    found_.pop_back();
                }
                found_.push_back(f);
                std::push_heap(found_.begin(), found_.end(), order);
                pg::check_interrupts();
            }
        }
        all_found_ = found_.size() < batch_;
        std::sort_heap(found_.begin(), found_.end(), order);
        next_ = 0;
        if (!found_.empty())
            range_.after = found_.back().position;
        return !found_.empty();
    }

    const std::vector<int32> kinds_;
    const std::unordered_set<int32> wanted_;
    LogRange range_; // what is left
    Snapshot snapshot_;
    const size_t batch_, patience_;
    pg::IndexReader log_, by_kind_;
    pg::PlaceReader places_;
    bool by_batches_ = false, all_found_ = false;
    std::vector<Found> found_;
    size_t next_ = 0;
};

} // namespace

std::unique_ptr<LogSource> scan_table(Oid table, Oid index, std::optional<int32> kind, const LogRange &range,
                                      Snapshot snapshot) {
    return std::make_unique<TableScan>(table, index, kind, range, snapshot);
}

std::unique_ptr<LogSource> scan_many_kinds(std::vector<int32> kinds, int64 count, const LogRange &range,
                                           Snapshot snapshot) {
    return std::make_unique<ManyKinds>(std::move(kinds), count, range, snapshot);
}

} // namespace chronicle::store
