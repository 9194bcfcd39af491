// SPI as objects: a connection scope, prepared statements that live as long as the process, rows.
#pragma once

#include "pg/datum.hpp"
#include "pg/memory.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/jsonb.h"
}

namespace chronicle::pg {

/// SPI_connect for the scope. SPI_finish at its end; an abort pops the connection by itself.
class Spi {
public:
    Spi();
    ~Spi();
    Spi(const Spi &) = delete;
    Spi &operator=(const Spi &) = delete;

private:
    int exceptions_;
};

/// The values of a statement's parameters, in order; or of a row's columns.
class Values {
public:
    static constexpr int capacity = 32;
    Values &text(std::string_view value) { return add(make_text(value)); }
    Values &maybe_text(const std::optional<std::string> &value) { return value ? text(*value) : null(); }
    Values &jsonb(std::string_view value) { return add(make_jsonb(value)); }
    Values &uuid(const Uuid &value) { return add(make_uuid(value)); }
    Values &int8(int64 value) { return add(Int64GetDatum(value)); }
    Values &maybe_int8(std::optional<int64> value) { return value ? int8(*value) : null(); }
    Values &int4(int32 value) { return add(Int32GetDatum(value)); }
    Values &boolean(bool value) { return add(BoolGetDatum(value)); }
    Values &time(TimestampTz value) { return add(TimestampTzGetDatum(value)); }
    Values &add(Datum value, bool is_null = false);
    Values &null() { return add(Datum(0), true); }
    int count() const { return count_; }
    Datum *datums() { return datums_; }
    const char *nulls() const { return nulls_; }
    const bool *null_flags() const { return null_flags_; } // of a row (relation.hpp)

private:
    Datum datums_[capacity];
    char nulls_[capacity + 1] = {};
    bool null_flags_[capacity] = {};
    int count_ = 0;
};

/// One row of a result; columns count from 1 as in SPI. Valid until the next statement on the same connection ends.
class Row {
public:
    Row(SPITupleTable *table, uint64 index) : table_(table), tuple_(table->vals[index]) {}
    bool null(int column) const;
    Datum datum(int column, bool *is_null) const;
    std::string text(int column) const;
    std::optional<std::string> maybe_text(int column) const;
    int64 int8(int column) const;
    int32 int4(int column) const;
    bool boolean(int column) const;
    Uuid uuid(int column) const;
    TimestampTz time(int column) const;
    std::string jsonb(int column) const;

private:
    SPITupleTable *table_;
    HeapTuple tuple_;
};

/// A result: the rows, and how many the statement touched.
struct Rows {
    SPITupleTable *table = nullptr;
    uint64 count = 0;
    bool empty() const { return count == 0; }
    Row operator[](uint64 index) const { return Row(table, index); }
};

/// While it lives, statements of ours see the newest committed state also in a REPEATABLE READ or SERIALIZABLE
/// transaction, where they would see that of the transaction's snapshot: what is read under a lock must be what the
/// lock protects. (A row that another transaction changed meanwhile is still 40001 there when it is updated.)
class NewestScope {
public:
    NewestScope();
    ~NewestScope();
    NewestScope(const NewestScope &) = delete;
    NewestScope &operator=(const NewestScope &) = delete;

private:
    bool outer_;
};

/// A statement of the engine's own, prepared once in each process. Constant-initialised, so it may be a static.
/// Its text names everything with its schema; it runs inside an Spi scope.
class Statement {
public:
    template <size_t N>
    constexpr Statement(const char *sql, const Oid (&types)[N]) : sql_(sql), types_(types), count_(int(N)) {}
    constexpr explicit Statement(const char *sql) : sql_(sql), types_(nullptr), count_(0) {}
    /// `read_only` reads with the asking statement's snapshot; otherwise with a new one, own changes included.
    Rows run(Values &values, bool read_only = false);
    Rows run() {
        Values none;
        return run(none);
    }

private:
    const char *sql_;
    const Oid *types_;
    int count_;
    SPIPlanPtr plan_ = nullptr;
};

/// Runs a text once, without keeping a plan.
Rows run_sql(const std::string &sql, long max_rows = 0);

} // namespace chronicle::pg
