// Rows that travel between nodes: a typed relation in a tuplestore, and its stored form.
#pragma once

#include "pg/datum.hpp"

extern "C" {
#include "access/tupdesc.h"
#include "utils/tuplestore.h"
}

namespace chronicle::flow {

/// A relation: columns and rows. Lives as long as the RowsHome that it was made in.
struct Rows {
    TupleDesc columns = nullptr;
    Tuplestorestate *store = nullptr;
    int64 count = 0;
};

/// Where relations of the running batch live: the memory context and resource owner of the transaction around the
/// nodes' savepoints, because a node's rows outlive its savepoint (and spilled ones own a file).
class RowsHome {
public:
    RowsHome();
    ~RowsHome();
    RowsHome(const RowsHome &) = delete;
    RowsHome &operator=(const RowsHome &) = delete;

private:
    int exceptions_;
};
MemoryContext rows_memory();

/// An empty relation with these columns (the descriptor is copied).
Rows make_rows(TupleDesc columns);
/// Appends one row.
void add_row(Rows &rows, const Datum *values, const bool *nulls);

/// [{"name": …, "type": …}, …]: types with their schema, as the input of parse_columns.
std::string describe_columns(TupleDesc columns);

/// Chunks of encoded rows: values in their types' text form (as pg_dump relies on), so that numeric, NaN, bytea, enums,
/// arrays, NULL and infinite times come back as they were.
std::vector<std::string> encode_rows(const Rows &rows);
/// The relation again; 0A000 when a type has no text input.
class RowsDecoder {
public:
    explicit RowsDecoder(const std::string &columns_json);
    void add(std::string_view chunk);
    Rows take() { return rows_; }

private:
    Rows rows_;
    std::vector<Oid> input_functions_, type_parameters_;
};

/// The first `limit` rows (negative: all) as a JSON array of row objects; nothing over chronicle.max_output_bytes.
std::optional<std::string> rows_to_json(const Rows &rows, int64 limit);
/// All rows as JSON; 54000 over chronicle.max_output_bytes.
std::string whole_json(const Rows &rows);

/// Makes a relation visible by name to statements of the current SPI connection.
void register_rows(const char *name, const Rows &rows);

} // namespace chronicle::flow
