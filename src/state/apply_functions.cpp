#include "state/apply_functions.hpp"

#include "state/document.hpp"

extern "C" {
#include "executor/executor.h"
}

namespace chronicle::state {

namespace {

// apply(state, event): the state changed by the event's data. Without an event, or data, the state as it is.
Datum apply_data(FunctionCallInfo fcinfo, void (Document::*change)(const Jsonb *)) {
    NullableDatum state = fcinfo->args[0], event = fcinfo->args[1];
    NullableDatum data{Datum(0), true};
    if (!event.isnull)
        data.value = pg::call(
            [&]() noexcept { return GetAttributeByName(DatumGetHeapTupleHeader(event.value), "data", &data.isnull); });
    if (data.isnull) {
        fcinfo->isnull = state.isnull;
        return state.value;
    }
    auto plain = [](Datum value) { return pg::call([&]() noexcept { return DatumGetJsonbP(value); }); };
    Document document;
    if (state.isnull)
        document.clear();
    else
        document.load(plain(state.value));
    (document.*change)(plain(data.value));
    return document.store();
}

} // namespace

CHRONICLE_FUNCTION(chronicle_apply_merge_patch) { return apply_data(fcinfo, &Document::merge); }
CHRONICLE_FUNCTION(chronicle_apply_json_patch) { return apply_data(fcinfo, &Document::patch); }

} // namespace chronicle::state
