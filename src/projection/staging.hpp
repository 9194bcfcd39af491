// Staging tables: where a statement projection is computed anew. Told in staging.cpp.
#pragma once

#include "projection/projection.hpp"

extern "C" {
#include "executor/spi.h"
#include "utils/snapshot.h"
}

namespace chronicle::projection {

/// The table that a statement writes (option "target"), as it is now. Names are quoted where they must be.
struct Target {
    struct Key {
        std::string column, equality; // the operator of the primary key
    };
    Oid oid = InvalidOid;
    std::string table, qualified;
    std::vector<Key> keys;
    std::vector<std::string> columns, others; // without generated ones; `others`: those that are no key
    bool other_unique = false; // has a unique index beside the primary key
};

/// 42P01 when there is no such table (now).
void require_target(const Projection &projection);
/// Raises why its rows cannot be computed anew: 42P01 it does not exist, 55000 it, or what is on it.
Target find_target(const Projection &projection);

std::string rebuild_schema(int64 id);
/// A table like the target, alone in a new schema.
void create_staging(const Projection &projection, const Target &target, const std::string &schema);
/// Does nothing when it is not there.
void drop_staging(const std::string &schema);
/// Keeps everybody else out of the staging table, for drop_staging(); 55P03 after `patience_ms`.
void lock_staging(const std::string &schema, int patience_ms);

/// The projection as it runs on the staging table.
Projection staged(const Projection &projection, const Target &target, const std::string &schema);
/// 55000 when the statement writes other tables than the staging one, or reads the live one.
void check_staged_statement(const Projection &staged);
/// The same for its plan.
void check_relations(SPIPlanPtr plan, const Projection &staged);

/// Makes the live rows equal to the staged ones, as the owner. What is equal is not touched.
void make_equal(const Projection &projection, const Target &target, const std::string &schema);
/// Rows (key text, live jsonb, staged jsonb) that differ; the live ones as of `snapshot`.
pg::Rows compare(const Projection &projection, const Target &target, const std::string &schema, Snapshot snapshot);

} // namespace chronicle::projection
