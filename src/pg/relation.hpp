// Tables and indexes by direct access, for the paths where SPI is too slow.
#pragma once

#include "pg/memory.hpp"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
}

namespace chronicle::pg {

/// A table opened for the scope; its lock stays until the end of the transaction.
class Table {
public:
    Table(Oid oid, LOCKMODE mode);
    ~Table();
    Table(const Table &) = delete;
    Table &operator=(const Table &) = delete;
    Relation get() const { return relation_; }

private:
    Relation relation_;
    int exceptions_;
};

/// Where rows go that are inserted one at a time.
enum class Placement {
    anywhere, // wherever there is room, as PostgreSQL does
    together, // on a page of this process's own; then on one that is at least half empty, or a new one
};

/// Inserts rows into one table and its indexes, without the executor. Fires no trigger. What it needs besides the
/// opened relations (descriptions of indexes, the state of their predicates, slots) is made once in a process.
class TableWriter {
public:
    explicit TableWriter(Oid table, Placement placement = Placement::anywhere);
    ~TableWriter();
    TableWriter(const TableWriter &) = delete;
    TableWriter &operator=(const TableWriter &) = delete;
    /// One value and one null flag per column, in the table's order. Unique violations are PostgreSQL's own 23505.
    void insert(const Datum *values, const bool *nulls) {
        add(values, nulls);
        flush();
    }
    /// The same, many at once: what was added is in the table after flush(). Values must live until then.
    void add(const Datum *values, const bool *nulls);
    /// A row that this process has inserted is seen by what runs after this.
    static void next_command();
    void flush();

    struct State; // what is kept

private:
    static constexpr int capacity = 256;
    Table table_;
    State *state_;
    Placement placement_;
    int used_ = 0;
    int exceptions_;
};

/// Stands on one row of a table.
class RowReader {
public:
    /// A column of the current row; system columns by their negative numbers.
    Datum column(int attribute, bool *is_null) const {
        if (attribute < 1)
            return system_column(attribute, is_null);
        *is_null = slot_->tts_isnull[attribute - 1];
        return slot_->tts_values[attribute - 1];
    }
    /// Where the current row lies.
    ItemPointerData place() const { return slot_->tts_tid; }

protected:
    RowReader(Oid table);
    ~RowReader();
    RowReader(const RowReader &) = delete;
    RowReader &operator=(const RowReader &) = delete;
    Datum system_column(int attribute, bool *is_null) const;
    Table table_;
    TupleTableSlot *slot_;
    int exceptions_;
};

/// Walks one btree index in order. Key columns are given as equality prefixes with an optional bound on the next one.
class IndexReader : public RowReader {
public:
    /// The index and its table are opened with AccessShareLock.
    IndexReader(Oid table, Oid index, Snapshot snapshot);
    ~IndexReader();

    /// Adds a key: index column `column` (from 1), BT…StrategyNumber, the operator's function, the value.
    void key(int column, int strategy, Oid procedure, Datum value, Oid collation = InvalidOid);
    /// Begins anew: the same number of keys is to be given again.
    void restart();
    /// The next row, or nullptr. Slots stay valid until the next call.
    TupleTableSlot *next(bool backwards = false);

private:
    static constexpr int max_keys = 4;
    Relation index_;
    Snapshot snapshot_;
    MemoryContext memory_;
    ScanKeyData keys_[max_keys];
    int key_count_ = 0;
    bool started_ = false;
    IndexScanDesc scan_ = nullptr;
};

/// Rows of one table by the place where they were seen, in this transaction or an earlier one.
class PlaceReader : public RowReader {
public:
    explicit PlaceReader(Oid table) : RowReader(table) {}
    /// False when nothing visible lies there (any more). It may be another row than the one that was seen.
    bool read(ItemPointerData place, Snapshot snapshot);

private:
    BlockNumber blocks_ = 0; // of the table; it cannot become smaller while it is open here
};

} // namespace chronicle::pg
