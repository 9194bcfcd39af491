// Concurrency limits. Runs of one workflow whose `concurrency.key` has the same value are a group; a run needs one of
// the group's slots from its first node to its end. A child whose ancestor is of the same group and has a slot needs
// none: the ancestor waits for it.
//
//   ask      a run that would queue its first nodes asks: a row in concurrency_slot, and one in concurrency_bell for
//   its
//            group. Its nodes are held. Both are inserts, so a caller's transaction that stays open blocks nobody.
//   hand out the scheduler takes the bells, and for each group that rang gives its free slots to the waiting runs:
//            higher priority first, then the older. Their nodes become ready. Only the scheduler does this, so what is
//            taken is counted, not locked; only groups that rang are looked at, and in them only as many waiting runs
//            as there are slots.
//   check    whoever claims a node of such a run looks whether it has a slot (a run_at that came due, a retried run),
//   and
//            lets it ask if not.
//            A run that is paused while it waits is passed over; one that is paused while it has a slot keeps it.
//   release  the end of the run removes its row and rings.
//
// Crash at every point: rows and bells are committed with what they are about; a bell that is not served rings on.
#include "flow/limits.hpp"

#include "flow/batch_context.hpp"
#include "flow/queue.hpp"
#include "flow/slots.hpp"
#include "worker/registry.hpp"

namespace chronicle::flow {

namespace {

constexpr int bells_at_once = 500;
constexpr int locked_runs_passed_over = 16;

bool passed_over = false; // the last look found runs whose lock somebody had

// The value of the key, as JSON text: null when the path finds nothing.
std::string key_of(const Execution &execution, const core::json &concurrency) {
    if (!concurrency.contains("key"))
        return "";
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT jsonb_build_object('input', input, 'metadata', metadata) "
                              "FROM chronicle_data.execution WHERE execution_id = $1",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(execution.id));
    bool is_null;
    Datum context = rows[0].datum(1, &is_null);
    return "/" + first_match_text(context, concurrency["key"].get<std::string>());
}

void ring(const std::string &group) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement insert{"INSERT INTO chronicle_data.concurrency_bell (group_key) VALUES ($1)", types};
    pg::Values values;
    insert.run(values.text(group));
    worker::announce_scheduler();
}

void ask(const Execution &execution, const std::string &group, int limit) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, INT4OID, INT4OID};
    static pg::Statement insert{
        "INSERT INTO chronicle_data.concurrency_slot (execution_id, group_key, slots, priority) "
        "VALUES ($1, $2, $3, $4)",
        types};
    pg::Values values;
    values.uuid(execution.id).text(group).int4(limit);
    insert.run(values.int4(execution.priority));
    ring(group);
}

bool ancestor_has_slot(const Execution &execution, const std::string &group) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement find{
        "WITH RECURSIVE ancestor (id) AS (SELECT parent_execution_id FROM chronicle_data.execution "
        "WHERE execution_id = $1 UNION SELECT e.parent_execution_id FROM ancestor a "
        "JOIN chronicle_data.execution e ON e.execution_id = a.id) "
        "SELECT 1 FROM ancestor a JOIN chronicle_data.concurrency_slot s ON s.execution_id = a.id "
        "WHERE s.group_key = $2 AND s.held",
        types};
    pg::Values values;
    return !find.run(values.uuid(execution.id).text(group)).empty();
}

// Keys may be long; an index row may not.
std::string group_of(const Execution &execution, const core::json &concurrency) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement shorten{"SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')", types};
    std::string group = execution.workflow_id + key_of(execution, concurrency);
    if (group.size() <= 400)
        return group;
    pg::Values values;
    return execution.workflow_id + "/sha256:" + shorten.run(values.text(group))[0].text(1);
}

struct Waiting {
    pg::Uuid execution;
    int slots;
};

std::vector<Waiting> first_waiting(const std::string &group, int64 count) {
    static constexpr Oid types[] = {TEXTOID, INT8OID};
    static pg::Statement find{
        "SELECT s.execution_id, s.slots FROM chronicle_data.concurrency_slot s "
        "JOIN chronicle_data.execution e ON e.execution_id = s.execution_id AND e.status <> 'paused' "
        "WHERE s.group_key = $1 AND NOT s.held ORDER BY s.priority DESC, s.queue_number LIMIT $2",
        types};
    pg::Values values;
    pg::Rows rows = find.run(values.text(group).int8(count));
    std::vector<Waiting> found;
    for (uint64 i = 0; i < rows.count; i++)
        found.push_back({rows[i].uuid(1), rows[i].int4(2)});
    return found;
}

int64 count_held(const std::string &group) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement count{"SELECT count(*) FROM chronicle_data.concurrency_slot WHERE group_key = $1 AND held",
                               types};
    pg::Values values;
    return count.run(values.text(group))[0].int8(1);
}

// The run's held nodes become ready, unless it was paused in between: then resume_execution does that.
void give_slot(const pg::Uuid &id) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement hold{"UPDATE chronicle_data.concurrency_slot SET held = true WHERE execution_id = $1", types};
    static pg::Statement release{"UPDATE chronicle_data.node_task t SET state = 'ready', "
                                 "queue_number = chronicle_data.queue_number_again() FROM chronicle_data.execution e "
                                 "WHERE t.execution_id = $1 AND t.state = 'held' AND e.execution_id = t.execution_id "
                                 "AND e.status <> 'paused'",
                                 types};
    pg::Values values;
    values.uuid(id);
    hold.run(values);
    release.run(values);
    if (std::optional<Execution> execution = find_execution(id))
        announce_ready_of(execution->owner);
}

// One group's free slots. A run whose lock somebody has (a caller's transaction that has not ended) is passed over, and
// tried again soon; `false` then.
bool serve_group(const std::string &group) {
    int64 held = count_held(group);
    std::vector<Waiting> waiting = first_waiting(group, 1);
    if (waiting.empty() || held >= waiting[0].slots)
        return true;
    bool all = true;
    for (const Waiting &w : first_waiting(group, waiting[0].slots - held + locked_runs_passed_over)) {
        if (held >= w.slots)
            break;
        if (!try_lock_execution(w.execution)) {
            all = false;
            continue;
        }
        give_slot(w.execution);
        held++;
    }
    return all;
}

std::vector<std::string> take_bells() {
    static constexpr Oid types[] = {INT4OID};
    static pg::Statement take{"DELETE FROM chronicle_data.concurrency_bell WHERE bell_number IN (SELECT bell_number "
                              "FROM chronicle_data.concurrency_bell ORDER BY bell_number LIMIT $1) "
                              "RETURNING group_key",
                              types};
    pg::Values values;
    pg::Rows rows = take.run(values.int4(bells_at_once));
    std::vector<std::string> groups;
    for (uint64 i = 0; i < rows.count; i++)
        groups.push_back(rows[i].text(1));
    return groups;
}

// One transaction. False: nothing rang, or only what cannot be served yet.
bool serve_bells() {
    access::EngineScope engine;
    std::vector<std::string> groups = take_bells();
    size_t rang = groups.size();
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (const std::string &group : groups)
        if (!serve_group(group)) {
            static constexpr Oid types[] = {TEXTOID};
            static pg::Statement again{"INSERT INTO chronicle_data.concurrency_bell (group_key) VALUES ($1)", types};
            pg::Values values;
            again.run(values.text(group));
            passed_over = true;
        }
    return rang == bells_at_once;
}

} // namespace

bool has_slot(const Execution &execution, const core::Definition &graph) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT held, group_key FROM chronicle_data.concurrency_slot WHERE execution_id = $1",
                              types};
    if (graph.concurrency.is_null())
        return true;
    pg::Values values;
    if (pg::Rows rows = find.run(values.uuid(execution.id)); !rows.empty()) {
        if (!rows[0].boolean(1)) // it was paused, and passed over
            ring(rows[0].text(2));
        return rows[0].boolean(1);
    }
    std::string group = group_of(execution, graph.concurrency);
    if (ancestor_has_slot(execution, group))
        return true;
    ask(execution, group, graph.concurrency.value("limit", 1));
    return false;
}

void release_slot(const Execution &execution) {
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.concurrency_slot WHERE execution_id = $1 RETURNING group_key", types};
    if (stored_definition(execution.definition_id)->graph.concurrency.is_null())
        return;
    pg::Values values;
    pg::Rows rows = remove.run(values.uuid(execution.id));
    if (!rows.empty())
        ring(rows[0].text(1));
}

void hand_out_slots() {
    bool more;
    passed_over = false;
    do {
        pg::start_transaction();
        more = serve_bells();
        pg::commit_transaction();
        pg::check_interrupts();
    } while (more);
}

TimestampTz next_hand_out() { return passed_over ? look_again_at() : 0; }

} // namespace chronicle::flow
