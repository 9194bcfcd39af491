// One event as readers get it: the columns of the composite type chronicle.event.
#pragma once

#include "pg/relation.hpp"
#include "store/kind.hpp"
#include "types/upcast.hpp"

namespace chronicle::store {

struct EventRow {
    int64 position = 0, version = 0;
    std::string_view stream, category, type; // valid until the reader moves on
    Datum data = 0, metadata = 0, event_id = 0, recorded_at = 0, actor = 0;
    Datum stream_text = 0, type_text = 0; // as texts, where the reader has them at hand
    int32 type_version = 1;
};

inline constexpr int event_columns = 13; // of chronicle.event
using EventColumns = uint32; // a set: bit n is column n + 1
inline constexpr EventColumns all_columns = (1u << event_columns) - 1;

/// Events one after another, in the order that was asked for. What it opens belongs to the memory context and the
/// resource owner that are current when it is made.
class EventSource {
public:
    EventSource();
    virtual ~EventSource();
    EventSource(const EventSource &) = delete;
    EventSource &operator=(const EventSource &) = delete;
    /// The next event, or nullptr. It is valid until the next call.
    const EventRow *next() {
        pg::MemorySwitch to_row(row_memory_);
        return find_next();
    }
    /// What belongs to the current event: emptied by the next call.
    MemoryContext row_memory() const { return row_memory_; }

protected:
    /// Before each row that is looked at.
    void fresh_row() { MemoryContextReset(row_memory_); }

private:
    virtual const EventRow *find_next() = 0;
    MemoryContext row_memory_;
    int exceptions_;
};

/// Makes events of rows of chronicle_data.event, in the newest version of their types. For one scan: what many rows
/// have in common is kept, in the memory context that is current when this is made. `as_stored`: data and type_version
/// are left as they were written, for those who look at neither.
class EventMaker {
public:
    explicit EventMaker(bool as_stored = false) : memory_(CurrentMemoryContext), as_stored_(as_stored) {}
    /// The event that the reader stands on, of a stream whose name the caller knows.
    void make(const pg::RowReader &reader, std::string_view stream, EventRow &row);
    EventRow make(const pg::RowReader &reader, std::string_view stream) {
        EventRow row;
        make(reader, stream, row);
        return row;
    }

private:
    struct Known {
        Kind kind;
        Datum type_text = 0;
    };
    const Known &kind(int32 kind_id);
    MemoryContext memory_;
    const bool as_stored_;
    types::Upcasts upcasts_;
    std::unordered_map<int32, Known> kinds_;
    int32 last_kind_ = 0;
    const Known *last_ = nullptr;
};

/// The row of chronicle_data.workflow_event that the reader stands on. `type` keeps the type's text.
EventRow read_run_event(const pg::RowReader &reader, std::string_view stream, std::string &type);

/// The columns of chronicle.event; of those that are not wanted, NULL.
void event_values(const EventRow &row, EventColumns wanted, Datum *values, bool *nulls);

/// The event as a jsonb object: what `filter` looks at.
Datum event_object(const EventRow &row);

} // namespace chronicle::store
