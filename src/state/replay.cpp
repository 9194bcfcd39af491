// Looking at a fold step by step: replay() shows every state, find_first_version() looks for one.
//
// replay() answers with an error as a row, so the fold runs in a subtransaction, and what a row shows is copied out of
// the fold before the event is applied. find_first_version() is one pass: a condition on states need not stay true once
// it was, so no state may be skipped.
#include "core/json.hpp"

#include "state/fold.hpp"

#include "catalog/names.hpp"
#include "store/path_filter.hpp"

extern "C" {
#include "funcapi.h"
#include "utils/tuplestore.h"
}

namespace chronicle::state {

namespace {

// The step that is being made, in a memory context of its own: it outlives the fold when that fails.
class Step {
public:
    explicit Step(ReturnSetInfo *result)
        : result_(result), memory_(pg::call([]() noexcept {
              return AllocSetContextCreateInternal(CurrentMemoryContext, "chronicle replay", ALLOCSET_DEFAULT_SIZES);
          })) {}

    void begin(const store::EventRow &event, Applier &applier) {
        MemoryContextReset(memory_);
        pg::MemorySwitch keep(memory_);
        version_ = event.version;
        type_ = pg::make_text(event.type);
        data_ = pg::copy_datum(event.data, -1);
        before_ = applier.state();
    }
    void end(Applier &applier) {
        pg::MemorySwitch keep(memory_);
        put(applier.state(), {Datum(0), true});
    }
    void fail(const pg::Error &error) {
        pg::MemorySwitch keep(memory_);
        put({Datum(0), true}, {pg::make_text(error.sqlstate_text() + ": " + error.message()), false});
    }
    bool begun() const { return version_ != 0; }

private:
    void put(const NullableDatum &after, const NullableDatum &error) {
        Datum values[] = {Int64GetDatum(version_), type_, data_, before_.value, after.value, error.value};
        bool nulls[] = {false, false, false, before_.isnull, after.isnull, error.isnull};
        pg::call([&]() noexcept { tuplestore_putvalues(result_->setResult, result_->setDesc, values, nulls); });
    }

    ReturnSetInfo *result_;
    MemoryContext memory_;
    int64 version_ = 0;
    Datum type_ = 0, data_ = 0;
    NullableDatum before_{Datum(0), true};
};

std::optional<int64> positive_argument(const pg::Arguments &arguments, int i, const char *name) {
    std::optional<int64> value = arguments.int8(i);
    if (value && *value < 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be at least 1, not " + std::to_string(*value),
                   .detail = core::json{{name, *value}}.dump()});
    return value;
}

// With the caller's function the caller runs it, and snapshots that another function made are of no use.
Recipe recipe_for(const std::optional<std::string> &function, const std::shared_ptr<const Aggregate> &aggregate) {
    if (!function)
        return recipe_of(*aggregate);
    Recipe recipe{pg::resolve_function(*function, apply_signature()), GetUserId(), std::nullopt,
                  aggregate ? aggregate->initial_state() : pg::make_jsonb("{}"), nullptr};
    return recipe;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_replay) {
    pg::Arguments arguments(fcinfo);
    std::string stream = stream_argument(arguments);
    std::optional<int64> from = positive_argument(arguments, 1, "from_version");
    int64 to = positive_argument(arguments, 2, "to_version").value_or(PG_INT64_MAX);
    std::optional<std::string> function = arguments.text(3);
    std::shared_ptr<const Aggregate> aggregate =
        function ? find_aggregate(catalog::category_of(stream)) : aggregate_of(stream);
    Recipe recipe = recipe_for(function, aggregate);
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    Step step(reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo));
    std::optional<pg::Error> failed = pg::attempt([&] {
        Fold fold(recipe, stream, snapshot);
        int64 first = from.value_or(fold.cut() + 1);
        if (to < first)
            return;
        fold.start(std::min(fold.end({.version = first - 1}), to));
        fold.run(to, [&](const store::EventRow &event, Applier &applier, bool before) {
            if (before)
                step.begin(event, applier);
            else if (event.version >= first)
                step.end(applier);
            return true;
        });
    });
    if (failed && (failed->must_pass() || !step.begun()))
        throw *failed;
    if (failed)
        step.fail(*failed);
    PG_RETURN_NULL();
}

CHRONICLE_FUNCTION(chronicle_find_first_version) {
    pg::Arguments arguments(fcinfo);
    std::string stream = stream_argument(arguments);
    if (arguments.null(1))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"predicate\" must not be NULL"});
    Datum path = pg::copy_datum(arguments.datum(1), -1);
    store::refuse_variables(path, "predicate");
    store::PathFilter filter(path);
    std::shared_ptr<const Aggregate> aggregate = aggregate_of(stream);
    Recipe recipe = recipe_of(*aggregate);
    int64 found = 0;
    Fold fold(recipe, stream, pg::call([]() noexcept { return GetActiveSnapshot(); }));
    auto matches = [&](Applier &applier) {
        NullableDatum state = applier.state();
        return !state.isnull && filter.passes(state.value);
    };
    fold.start(fold.cut());
    if (fold.cut() > 0 && fold.progress().version == fold.cut() && matches(fold.applier()))
        PG_RETURN_INT64(fold.cut()); // then, or before: nobody knows any more
    fold.run(PG_INT64_MAX, [&](const store::EventRow &event, Applier &applier, bool before) {
        if (!before && event.version >= fold.cut() && matches(applier))
            found = event.version;
        return found == 0;
    });
    if (found == 0)
        PG_RETURN_NULL();
    PG_RETURN_INT64(found);
}

} // namespace chronicle::state
