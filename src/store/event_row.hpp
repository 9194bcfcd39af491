// One event as readers get it: the columns of the composite type chronicle.event.
#pragma once

#include "pg/relation.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace chronicle::store {

struct EventRow {
    int64 position = 0, version = 0;
    std::string_view stream, category, type; // valid until the reader moves on
    Datum data = 0, metadata = 0, event_id = 0, recorded_at = 0, actor = 0;
    int32 type_version = 1;
};

/// The row of chronicle_data.event that the reader stands on, of a stream whose name the caller knows.
EventRow read_user_event(const pg::IndexReader &reader, std::string_view stream);

/// Puts one into a set-returning function's result.
void put_event(ReturnSetInfo *result, const EventRow &row);

/// The event as a jsonb object: what `filter` looks at.
Datum event_object(const EventRow &row);

} // namespace chronicle::store
