// Events as values of the composite type chronicle.event: what users' functions take as an argument.
#pragma once

#include "store/event_row.hpp"

extern "C" {
#include "utils/expandedrecord.h"
}

namespace chronicle::store {

/// Composes them. Texts that repeat (stream, category, type) are made once: one composer serves one fold or one batch.
/// It keeps what it makes in the memory context that is current when it is made.
class EventComposer {
public:
    EventComposer();
    EventComposer(const EventComposer &) = delete;
    EventComposer &operator=(const EventComposer &) = delete;
    /// The event, in the current memory context.
    Datum compose(const EventRow &row);
    /// The same for one call of one function, while the row is valid: an expanded record over the row's own values,
    /// which PL/pgSQL takes over as it is. Nothing is formed, copied and deformed.
    Datum compose_for_call(const EventRow &row);
    /// The columns of chronicle.event; texts are valid until the next event.
    void fill(const EventRow &row, Datum *values, bool *nulls);

private:
    struct Text {
        std::string of;
        Datum datum = 0;
    };
    Datum text(Text &last, std::string_view value);

    MemoryContext memory_;
    TupleDesc descriptor_;
    ExpandedRecordHeader *empty_ = nullptr; // what expanded records are made like
    Text stream_, category_, type_;
};

} // namespace chronicle::store
