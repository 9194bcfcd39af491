#include "store/event_datum.hpp"

#include "pg/datum.hpp"
#include "store/catalog.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/typcache.h"
}

namespace chronicle::store {

EventComposer::EventComposer() : memory_(CurrentMemoryContext) {
    Oid type = catalog().event_type;
    descriptor_ = pg::call([&]() noexcept { return lookup_rowtype_tupdesc_copy(type, -1); });
}

// A new text is made only when it differs from the one before: types mostly repeat.
Datum EventComposer::text(Text &last, std::string_view value) {
    if (last.datum != 0 && last.of == value)
        return last.datum;
    if (last.datum != 0)
        pfree(DatumGetPointer(std::exchange(last.datum, Datum(0))));
    last.of = value;
    pg::MemorySwitch keep(memory_);
    return last.datum = pg::make_text(value);
}

Datum EventComposer::compose(const EventRow &row) {
    constexpr EventColumns texts = 1u << 1 | 1u << 3 | 1u << 8;
    Datum values[event_columns];
    bool nulls[event_columns];
    event_values(row, all_columns & ~texts, values, nulls);
    values[1] = text(stream_, row.stream);
    values[3] = text(type_, row.type);
    values[8] = text(category_, row.category);
    nulls[1] = nulls[3] = nulls[8] = false;
    return pg::call([&]() noexcept { return HeapTupleGetDatum(heap_form_tuple(descriptor_, values, nulls)); });
}

} // namespace chronicle::store
