// A map of many trivial items would pay a commit for each of their runs. So whoever has run an item goes on with others
// of the same map in the same transaction, within the limits of a batch (run.cpp): each node in its savepoint, all of
// them together younger than 50 ms and fewer than chronicle.worker_batch.
//
//   choose    after the claimed item's run: walk over what is ready next in the queue. An item is reserved in shared
//             memory when its turn comes, so that other executors find the rest; then it is looked at whether it is
//             ready, of this map, in nobody's hands, and not to run alone. It is not claimed: until the commit it is
//             ready for all to see.
//   run       as any batch: its first node, and what becomes ready after it. One that exceeds the budget (perhaps it
//             waits for a lock that another such batch has; two that wait for each other end so), or fails by its
//             company, is rolled back to its savepoint, left in the queue, and not tried again in company by this
//             process.
//   finish    the claimed run first, with its patience (batch_record.cpp). Then each item: its run's lock if it is
//   free,
//             the node if it is still ready, the run's beginning with it. This transaction has locks of several runs by
//             now, so it waits for no other lock longer than 50 ms.
//
// If one cannot be finished, or the commit fails, all is rolled back, and the claimed node is repeated alone; the other
// items are in the queue as before. So is it with a crash: the items have not begun. A node that kills its process
// takes the claimed one with it each time, until it is the first in the queue itself; so that this is soon, an executor
// that comes up after a crash, or in the place of one that was lost, runs the first that it claims without company.
//
// Whoever cancels an item's run meanwhile interrupts nothing (nobody knows that it runs), but for 50 ms at most.
#include "flow/items.hpp"

#include "flow/queue_scan.hpp"
#include "settings.hpp"
#include "worker/executor.hpp"

namespace chronicle::flow {

namespace {

constexpr int others_limit = 16; // nodes that are no items of the map, looked at in vain
constexpr size_t least_share = 4; // items that one takes, however few there are for all
constexpr int careful_batches = 64; // chronicle.worker_batch is at most that

bool is_careful() {
    static int left = worker::follows_a_loss() ? careful_batches : 0;
    return left > 0 && left-- > 0;
}

// Enough for all executors: each takes some of them meanwhile.
std::vector<ReadyNode> next_in_queue(const std::string &owner) {
    access::EngineScope engine;
    std::vector<ReadyNode> nodes;
    size_t limit = static_cast<size_t>(settings::worker_batch) * static_cast<size_t>(settings::worker_processes + 1);
    QueueScan scan(owner, QueueScan::Learns::at_commit);
    worker::ReservedNodes reserved;
    while (nodes.size() < limit) {
        std::optional<ReadyNode> next = scan.next();
        if (!next)
            break;
        if (!reserved.contains(next->execution, next->node_index))
            nodes.push_back(*next);
    }
    return nodes;
}

// The ready node, if it is of an item of this call. The conditions imply no index but the keys'.
std::optional<Claim> find_item(const ReadyNode &node, const ParentCall &call, const std::string &owner) {
    static constexpr Oid types[] = {UUIDOID, INT4OID, UUIDOID, INT8OID};
    static pg::Statement find{
        "SELECT t.node_id, t.attempt FROM chronicle_data.node_task t "
        "JOIN chronicle_data.execution e USING (execution_id) WHERE t.execution_id = $1 AND t.node_index = $2 "
        "AND coalesce(t.state = 'ready' AND NOT (t.alone OR t.begun OR t.lost OR t.compensating) "
        "AND e.status IN ('pending', 'running') AND e.parent_execution_id = $3 AND e.parent_call = $4, false)",
        types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(node.execution).int4(node.node_index).uuid(call.execution).int8(call.call));
    if (rows.empty())
        return std::nullopt;
    Claim item{.execution = node.execution,
               .node_index = node.node_index,
               .node_id = rows[0].text(1),
               .attempt = rows[0].int4(2) + 1,
               .owner = owner,
               .started_at = GetCurrentTimestamp(),
               .reserved = true,
               .siblings = {}};
    return item;
}

// Nothing: it is no item of this map, or not any more.
std::unique_ptr<Batch> begin_item(const ReadyNode &node, const Batch &first, size_t members) {
    std::optional<Claim> item = find_item(node, *first.execution().parent, first.claim().owner);
    if (!item || is_locked(node.execution))
        return nullptr;
    try {
        return std::make_unique<Batch>(*item, first, members);
    } catch (const LeaseLost &) { // its run has just ended
        return nullptr;
    }
}

} // namespace

void run_other_items(Batches &batches) {
    const Batch &first = *batches[0];
    const std::optional<ParentCall> &call = first.execution().parent;
    if (!call || !call->item || !first.may_have_company() || is_careful())
        return;
    size_t members = first.size();
    int others = 0;
    std::vector<ReadyNode> next = next_in_queue(first.claim().owner);
    size_t share = std::max(least_share, next.size() / static_cast<size_t>(settings::worker_processes));
    size_t place = static_cast<size_t>(first.claimant().slot % settings::worker_processes);
    std::rotate(next.begin(), next.begin() + static_cast<long>(place * share % std::max<size_t>(1, next.size())),
                next.end());
    for (const ReadyNode &node : next) {
        if (!batches.back()->may_go_on() || others > others_limit || batches.size() > share)
            break;
        if (!worker::reserve_node(node.execution, node.node_index))
            continue;
        std::unique_ptr<Batch> item = begin_item(node, first, members);
        if (!item) {
            others++;
            worker::release_last_node();
            continue;
        }
        worker::Job::turn_to(item->claim().execution, item->claim().node_id);
        item->run();
        if (item->size() == 0) { // left in the queue
            worker::release_last_node();
            continue;
        }
        members += item->size();
        batches.push_back(std::move(item));
    }
    worker::Job::turn_to(first.claim().execution, first.claim().node_id);
}

} // namespace chronicle::flow
