#include "store/watch.hpp"

#include "catalog/objects.hpp"
#include "pg/relation.hpp"

extern "C" {
#include "access/xact.h"
#include "commands/trigger.h"
}

namespace chronicle::store {

namespace {

constexpr int max_watchers = 8;
Watcher watchers[max_watchers];
int watcher_count = 0;
const std::vector<StoredBatch> *current = nullptr;

// An error leaves it by an exception as well: the next append must not find what is gone.
class CurrentAppend {
public:
    explicit CurrentAppend(const std::vector<StoredBatch> &batches) : outer_(std::exchange(current, &batches)) {}
    ~CurrentAppend() { current = outer_; }
    CurrentAppend(const CurrentAppend &) = delete;
    CurrentAppend &operator=(const CurrentAppend &) = delete;

private:
    const std::vector<StoredBatch> *outer_;
};

bool is_watched(const std::vector<StoredBatch> &batches) {
    for (int i = 0; i < watcher_count; i++)
        for (const StoredBatch &batch : batches)
            if (watchers[i](batch))
                return true;
    return false;
}

void fire_statement_triggers(Relation table) noexcept {
    CommandCounterIncrement(); // the triggers see the rows
    EState *estate = CreateExecutorState();
    ResultRelInfo *result = makeNode(ResultRelInfo);
    InitResultRelInfo(result, table, 1, nullptr, 0);
    estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, result);
    AfterTriggerBeginQuery();
    ExecASInsertTriggers(estate, result, nullptr);
    AfterTriggerEndQuery(estate);
    FreeExecutorState(estate);
}

} // namespace

void add_watcher(Watcher watcher) {
    Assert(watcher_count < max_watchers);
    watchers[watcher_count++] = watcher;
}

const std::vector<StoredBatch> *current_append() { return current; }

void fire_append_triggers(const std::vector<StoredBatch> &batches) {
    if (watcher_count == 0 || !is_watched(batches))
        return;
    CurrentAppend scope(batches);
    pg::Table event(catalog::objects().event, RowExclusiveLock);
    Relation table = event.get();
    pg::call([&]() noexcept { fire_statement_triggers(table); });
}

} // namespace chronicle::store
