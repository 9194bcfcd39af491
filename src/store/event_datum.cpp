#include "store/event_datum.hpp"

#include "catalog/objects.hpp"
#include "pg/datum.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/typcache.h"
}

namespace chronicle::store {

EventComposer::EventComposer() : memory_(CurrentMemoryContext) {
    Oid type = catalog::objects().event_type;
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

void EventComposer::fill(const EventRow &row, Datum *values, bool *nulls) {
    constexpr EventColumns texts = 1u << 1 | 1u << 3 | 1u << 8, from_metadata = 1u << 10 | 1u << 11;
    const void *metadata = DatumGetPointer(row.metadata);
    bool empty = !VARATT_IS_EXTERNAL(metadata) && VARSIZE_ANY_EXHDR(metadata) == sizeof(uint32); // a header alone: {}
    event_values(row, all_columns & ~texts & ~(empty ? from_metadata : 0), values, nulls);
    values[1] = text(stream_, row.stream);
    values[3] = text(type_, row.type);
    values[8] = text(category_, row.category);
    nulls[1] = nulls[3] = nulls[8] = false;
}

Datum EventComposer::compose(const EventRow &row) {
    Datum values[event_columns];
    bool nulls[event_columns];
    fill(row, values, nulls);
    return pg::call([&]() noexcept { return HeapTupleGetDatum(heap_form_tuple(descriptor_, values, nulls)); });
}

Datum EventComposer::compose_for_call(const EventRow &row) {
    if (!empty_) {
        Oid type = catalog::objects().event_type;
        empty_ = pg::call([&]() noexcept { return make_expanded_record_from_typeid(type, -1, memory_); });
    }
    ExpandedRecordHeader *record =
        pg::call([&]() noexcept { return make_expanded_record_from_exprecord(empty_, CurrentMemoryContext); });
    fill(row, record->dvalues, record->dnulls);
    for (int column : {4, 5}) // values out of line would have to be marked as such
        if (VARATT_IS_EXTERNAL(DatumGetPointer(record->dvalues[column])))
            record->dvalues[column] = pg::copy_datum(record->dvalues[column], -1);
    record->flags |= ER_FLAG_DVALUES_VALID;
    // A function that changes a field of its argument must not free the row's value: all memory counts as the tuple's.
    record->fstartptr = nullptr;
    record->fendptr = reinterpret_cast<char *>(UINTPTR_MAX);
    return ExpandedRecordGetDatum(record);
}

} // namespace chronicle::store
