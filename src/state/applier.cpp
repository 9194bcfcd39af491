// Memory: a called function leaves its state in one of two contexts, while the other one holds the state before; after
// each event the older is reset. What functions leave lying about goes with it, so a fold over any history needs the
// room of two states. A state that PL/pgSQL, SQL or C returns is used as it is: nothing is copied between events.
#include "state/applier.hpp"

#include "state/apply_functions.hpp"
#include "state/document.hpp"
#include "store/event_datum.hpp"

namespace chronicle::state {

namespace {

std::string where(const store::EventRow &event) {
    return "version " + std::to_string(event.version) + " (" + std::string(event.type) + ") of stream \"" +
           std::string(event.stream) + "\"";
}

class CalledFunction : public Applier {
public:
    explicit CalledFunction(pg::UserFunction function) : function_(function) {
        pg::call([&]() noexcept {
            for (MemoryContext &context : contexts_)
                context = AllocSetContextCreate(CurrentMemoryContext, "chronicle state", ALLOCSET_DEFAULT_SIZES);
        });
    }

    void start(NullableDatum state) override {
        MemoryContextReset(contexts_[current_]);
        pg::MemorySwitch keep(contexts_[current_]);
        state_ = state.isnull ? state : NullableDatum{pg::copy_datum(state.value, -1), false};
    }

    void apply(const store::EventRow &event) override {
        if (state_.isnull && function_.strict())
            return; // as in SQL: a STRICT function is not called for NULL, which is its result
        MemoryContext spare = contexts_[1 - current_];
        NullableDatum result;
        {
            pg::MemorySwitch work(spare);
            result = call(event);
        }
        if (!result.isnull && !state_.isnull && result.value == state_.value) {
            MemoryContextReset(spare); // it returned what it was given
            return;
        }
        state_ = result;
        MemoryContextReset(contexts_[current_]);
        current_ = 1 - current_;
    }

    NullableDatum state() override {
        return state_.isnull ? state_ : NullableDatum{pg::copy_datum(state_.value, -1), false};
    }

    Oid function() const override { return function_.oid(); }

private:
    struct Named {
        const store::EventRow *event;
    };

    static void name_event(void *argument) {
        const store::EventRow &event = *static_cast<Named *>(argument)->event;
        errcontext("applying version " INT64_FORMAT " (%.*s) of stream \"%.*s\"", event.version,
                   static_cast<int>(event.type.size()), event.type.data(), static_cast<int>(event.stream.size()),
                   event.stream.data());
    }

    NullableDatum call(const store::EventRow &event) {
        NullableDatum arguments[] = {state_, {composer_.compose_for_call(event), false}};
        Named named{&event};
        return pg::call([&]() noexcept {
            ErrorContextCallback context{error_context_stack, name_event, &named};
            error_context_stack = &context;
            NullableDatum result = function_.call_unguarded(arguments);
            error_context_stack = context.previous;
            return result;
        });
    }

    pg::UserFunction function_;
    store::EventComposer composer_;
    MemoryContext contexts_[2];
    int current_ = 0;
    NullableDatum state_{Datum(0), true};
};

// apply_merge_patch and apply_json_patch without a call, without an event to be composed, and without jsonb in between.
class Patches : public Applier {
public:
    Patches(Oid function, void (Document::*change)(const Jsonb *)) : function_(function), change_(change) {}

    void start(NullableDatum state) override {
        if (state.isnull) {
            document_.clear();
            return;
        }
        pg::MemoryScope scratch("chronicle state");
        document_.load(pg::call([&]() noexcept { return DatumGetJsonbP(state.value); }));
    }

    void apply(const store::EventRow &event) override {
        const Jsonb *data = pg::call([&]() noexcept { return DatumGetJsonbP(event.data); });
        try {
            (document_.*change_)(data);
        } catch (const pg::Error &error) {
            pg::raise(error.sqlstate(), {.message = where(event) + ": " + error.message(),
                                         .detail = error.detail(),
                                         .hint = error.hint()});
        }
    }

    NullableDatum state() override { return {document_.store(), false}; }
    Oid function() const override { return function_; }

private:
    Document document_;
    Oid function_;
    void (Document::*change_)(const Jsonb *);
};

} // namespace

std::unique_ptr<Applier> make_applier(const std::string &function, Oid role) {
    pg::UserFunction found(function, apply_signature(), role);
    if (found.address() == chronicle_apply_merge_patch)
        return std::make_unique<Patches>(found.oid(), &Document::merge);
    if (found.address() == chronicle_apply_json_patch)
        return std::make_unique<Patches>(found.oid(), &Document::patch);
    return std::make_unique<CalledFunction>(found);
}

} // namespace chronicle::state
