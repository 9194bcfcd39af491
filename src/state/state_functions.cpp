// The SQL functions that ask for states.
#include "core/json.hpp"

#include "state/fold.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/tuplestore.h"
}

namespace chronicle::state {

namespace {

std::optional<int64> version_argument(const pg::Arguments &arguments, int i, const char *name) {
    std::optional<int64> version = arguments.int8(i);
    if (version && *version < 0)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must not be negative, is " + std::to_string(*version),
                   .detail = core::json{{name, *version}}.dump()});
    return version;
}

Snapshot asking_snapshot() {
    return pg::call([]() noexcept { return GetActiveSnapshot(); });
}

void put_row(ReturnSetInfo *result, Datum *values, bool *nulls) {
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
}

} // namespace

CHRONICLE_FUNCTION(chronicle_aggregate_state) {
    pg::Arguments arguments(fcinfo);
    std::string stream = stream_argument(arguments);
    Limit limit{version_argument(arguments, 1, "at_version"),
                arguments.null(2) ? std::nullopt : std::optional(DatumGetTimestampTz(arguments.datum(2)))};
    State found = fold_stream(*aggregate_of(stream), stream, asking_snapshot(), limit);
    fcinfo->isnull = found.state.isnull;
    return found.state.value;
}

CHRONICLE_FUNCTION(chronicle_load_aggregate) {
    pg::Arguments arguments(fcinfo);
    std::string stream = stream_argument(arguments);
    State found = fold_stream(*aggregate_of(stream), stream, asking_snapshot());
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    Datum values[] = {Int64GetDatum(found.version), found.state.value,
                      Int64GetDatum(found.snapshot_version.value_or(0)), Int64GetDatum(found.events_applied)};
    bool nulls[] = {false, found.state.isnull, !found.snapshot_version, false};
    put_row(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo), values, nulls);
    PG_RETURN_NULL();
}

} // namespace chronicle::state
