// What a node of a batch sees: what other nodes have left (those that it follows, and nothing else), rows of them by
// name, and config with its references resolved.
#include "flow/json.hpp"
#include "flow/batch.hpp"

#include "flow/batch_context.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
}

namespace chronicle::flow {

namespace {

bool has_reference(const core::json &value) {
    if (core::is_reference(value))
        return true;
    if (value.is_structured())
        for (const core::json &item : value)
            if (has_reference(item))
                return true;
    return false;
}

core::json resolve(const core::json &value, Datum context) {
    if (core::is_reference(value)) {
        if (!value.contains("$"))
            pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED, {.message = "secrets are not available in this version"});
        return first_match(context, value["$"].get<std::string>());
    }
    core::json copy = value;
    if (copy.is_structured())
        for (core::json &item : copy)
            item = resolve(item, context);
    return copy;
}

bool same_columns(TupleDesc a, TupleDesc b) {
    if (a->natts != b->natts)
        return false;
    for (int i = 0; i < a->natts; i++)
        if (TupleDescAttr(a, i)->atttypid != TupleDescAttr(b, i)->atttypid ||
            strcmp(NameStr(TupleDescAttr(a, i)->attname), NameStr(TupleDescAttr(b, i)->attname)) != 0)
            return false;
    return true;
}

// The columns of a UNION ALL: where the modifiers differ (varchar(3), varchar(10)), the result has none.
TupleDesc common_columns(const std::vector<const Rows *> &all) {
    TupleDesc columns = pg::call([&]() noexcept { return CreateTupleDescCopy(all.front()->columns); });
    for (int i = 0; i < columns->natts; i++)
        for (const Rows *rows : all)
            if (TupleDescAttr(rows->columns, i)->atttypmod != TupleDescAttr(columns, i)->atttypmod)
                TupleDescAttr(columns, i)->atttypmod = -1;
    return columns;
}

void append_rows(Rows &to, const Rows &from) {
    pg::call([&]() noexcept {
        TupleTableSlot *slot = MakeSingleTupleTableSlot(from.columns, &TTSOpsMinimalTuple);
        tuplestore_select_read_pointer(from.store, 0);
        tuplestore_rescan(from.store);
        while (tuplestore_gettupleslot(from.store, true, false, slot)) {
            tuplestore_puttupleslot(to.store, slot);
            CHECK_FOR_INTERRUPTS();
        }
        ExecDropSingleTupleTableSlot(slot);
    });
    to.count += from.count;
}

} // namespace

std::string first_match_text(Datum context, const std::string &path) {
    const char *text = path.c_str();
    struct Found {
        Datum value;
        bool null;
    };
    Found found = pg::call([&]() noexcept {
        LOCAL_FCINFO(fcinfo, 4);
        InitFunctionCallInfoData(*fcinfo, nullptr, 4, InvalidOid, nullptr, nullptr);
        fcinfo->args[0] = {context, false};
        fcinfo->args[1] = {DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)), false};
        fcinfo->args[2] = {DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), false};
        fcinfo->args[3] = {BoolGetDatum(true), false};
        Datum value = jsonb_path_query_first(fcinfo);
        return Found{value, fcinfo->isnull};
    });
    return found.null ? "null" : pg::jsonb_to_string(found.value);
}

core::json first_match(Datum context, const std::string &path) { return to_json(first_match_text(context, path)); }

bool predicate_holds(Datum document, const std::string &path) {
    const char *text = path.c_str();
    return pg::call([&]() noexcept {
        LOCAL_FCINFO(fcinfo, 4);
        InitFunctionCallInfoData(*fcinfo, nullptr, 4, InvalidOid, nullptr, nullptr);
        fcinfo->args[0] = {document, false};
        fcinfo->args[1] = {DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)), false};
        fcinfo->args[2] = {DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), false};
        fcinfo->args[3] = {BoolGetDatum(true), false};
        Datum value = jsonb_path_match(fcinfo);
        return !fcinfo->isnull && DatumGetBool(value);
    });
}

// --- what the batch knows ---

std::vector<int> Batch::live_sources(int node) const {
    std::vector<int> sources;
    for (int edge : graph().nodes[static_cast<size_t>(node)].in)
        if (state_.edges[static_cast<size_t>(edge)] == core::EdgeState::live)
            sources.push_back(graph().edges[static_cast<size_t>(edge)].source);
    return sources;
}

bool Batch::is_finished_ancestor(int candidate, int node) {
    core::NodeState state = state_.nodes[static_cast<size_t>(candidate)];
    if (state != core::NodeState::completed && state != core::NodeState::failed) // failed: the run goes on all the same
        return false;
    if (ancestors_of_ != node)
        find_ancestors(node);
    return ancestors_[static_cast<size_t>(candidate)];
}

// Once for each node that runs: with many names to look up, a walk for each would cost the square of the graph.
void Batch::find_ancestors(int node) {
    ancestors_.assign(graph().nodes.size(), false);
    ancestors_of_ = node;
    ancestors_[static_cast<size_t>(node)] = claim_.compensating; // it sees what it undoes
    std::vector<int> open{node};
    while (!open.empty()) {
        int current = open.back();
        open.pop_back();
        for (int edge : graph().nodes[static_cast<size_t>(current)].in) {
            int source = graph().edges[static_cast<size_t>(edge)].source;
            if (!ancestors_[static_cast<size_t>(source)]) {
                ancestors_[static_cast<size_t>(source)] = true;
                open.push_back(source);
            }
        }
    }
}

const core::Node &Batch::described(int node) const {
    const core::Node &found = graph().nodes[static_cast<size_t>(node)];
    return claim_.compensating ? *found.compensate : found;
}

const Rows *Batch::rows_of(int node) {
    for (const Member &member : members_)
        if (member.result.index == node)
            return member.output.rows ? &*member.output.rows : nullptr;
    auto found = loaded_.find(node);
    if (found != loaded_.end())
        return found->second ? &*found->second : nullptr;

    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find_columns{
        "SELECT columns FROM chronicle_data.node_result WHERE execution_id = $1 AND node_index = $2", types};
    static pg::Statement find_chunks{
        "SELECT rows FROM chronicle_data.node_rows WHERE execution_id = $1 AND node_index = $2 ORDER BY chunk", types};
    std::optional<std::string> columns;
    std::vector<std::string> chunks;
    {
        access::EngineScope engine;
        pg::Values values;
        values.uuid(execution_.id).int4(node);
        pg::Rows row = find_columns.run(values);
        if (!row.empty() && !row[0].null(1))
            columns = row[0].jsonb(1);
        pg::Rows stored = find_chunks.run(values);
        for (uint64 i = 0; i < stored.count; i++)
            chunks.push_back(stored[i].text(1));
    }
    std::optional<Rows> rows;
    if (columns) {
        RowsDecoder decoder(*columns);
        for (const std::string &chunk : chunks)
            decoder.add(chunk);
        rows = decoder.take();
    }
    found = loaded_.emplace(node, rows).first;
    return found->second ? &*found->second : nullptr;
}

// The output as references read it: all rows; of a failed node, why it failed.
std::string Batch::output_json(int node) {
    if (const Rows *rows = rows_of(node))
        return whole_json(*rows);
    for (const Member &member : members_)
        if (member.result.index == node)
            return member.result.output.value_or("null");
    static constexpr Oid types[] = {UUIDOID, INT4OID};
    static pg::Statement find{
        "SELECT output FROM chronicle_data.node_result WHERE execution_id = $1 AND node_index = $2", types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows found = find.run(values.uuid(execution_.id).int4(node));
    return found.empty() || found[0].null(1) ? "null" : found[0].jsonb(1);
}

std::string Batch::context_json(int node) {
    std::string nodes;
    for (int i = 0; i < static_cast<int>(graph().nodes.size()); i++) {
        if (!is_finished_ancestor(i, node))
            continue;
        nodes += (nodes.empty() ? "" : ", ") + core::json(graph().nodes[static_cast<size_t>(i)].id).dump() + ": " +
                 output_json(i);
    }
    return "{\"input\": " + execution_.input + ", \"execution_id\": \"" + core::uuid_to_text(execution_.id) +
           "\", \"nodes\": {" + nodes + "}}";
}

// --- as the node's function sees it ---

BatchNode::BatchNode(Batch &batch, int index) : batch_(batch), index_(index), config_(node().config) {
    if (!has_reference(config_))
        return;
    core::json resolved = resolve(config_, pg::make_jsonb(batch.context_json(index)));
    std::vector<core::Fault> faults;
    config_ = core::check_config(*node().type, resolved, "$.config", faults);
    if (!faults.empty())
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "the config's references do not fit: " +
                                                               faults.front().path + ": " + faults.front().problem});
}

const core::Node &BatchNode::node() const { return batch_.described(index_); }
core::json BatchNode::config(std::string_view field) const { return core::config_value(*node().type, config_, field); }
const pg::Uuid &BatchNode::execution() const { return batch_.execution().id; }
core::json BatchNode::input() const { return to_json(batch_.execution().input); }
std::string BatchNode::context() { return batch_.context_json(index_); }

const Rows *BatchNode::find(const std::string &name) {
    if (name == "input")
        return find_input();
    int candidate = batch_.graph().find(name);
    return candidate >= 0 && batch_.is_finished_ancestor(candidate, index_) ? batch_.rows_of(candidate) : nullptr;
}

// The only live upstream's rows, or the UNION ALL of several with the same columns.
const Rows *BatchNode::find_input() {
    if (union_)
        return &*union_;
    std::vector<const Rows *> all;
    if (batch_.compensating()) // it undoes what the node did
        return batch_.rows_of(index_);
    for (int source : batch_.live_sources(index_))
        if (const Rows *rows = batch_.rows_of(source))
            all.push_back(rows);
    if (all.size() <= 1)
        return all.empty() ? nullptr : all.front();
    for (const Rows *rows : all)
        if (!same_columns(all.front()->columns, rows->columns))
            pg::raise(ERRCODE_DATATYPE_MISMATCH,
                      {.message = "the upstream nodes of \"" + node().id +
                                  "\" return different columns, so there is no one input",
                       .hint = "Refer to each upstream by its node id, or give them the same columns."});
    union_ = make_rows(common_columns(all));
    for (const Rows *rows : all)
        append_rows(*union_, *rows);
    return &*union_;
}

} // namespace chronicle::flow
