// parse_definition reads header, nodes and edges, then looks at the graph as a whole: roles, order
// (Kahn 1962, Topological sorting of large networks) and cycles. It goes on after every fault, so
// that a user sees all of them at once; what is faulty is replaced by something harmless.
#include "core/definition.hpp"

#include <algorithm>
#include <limits>
#include <unordered_set>
#include <utility>

#include "core/duration.hpp"
#include "core/excerpt.hpp"
#include "core/names.hpp"
#include "core/object_reader.hpp"

namespace chronicle::core {

namespace {

constexpr std::size_t max_document_depth = 256;
constexpr std::size_t max_cycle_nodes_named = 20;
constexpr double max_backoff = 1e6;
constexpr int compensation_attempts = 3;

bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// [A-Za-z0-9_.-]{1,200}
bool is_workflow_id(std::string_view id) {
    return !id.empty() && id.size() <= 200 && std::all_of(id.begin(), id.end(), [](char c) {
        return is_letter(c) || is_digit(c) || c == '_' || c == '.' || c == '-';
    });
}

// [A-Za-z_][A-Za-z0-9_-]{0,62}
bool is_node_id(std::string_view id) {
    return !id.empty() && id.size() <= 63 && !is_digit(id.front()) && id.front() != '-' &&
           std::all_of(id.begin(), id.end(),
                       [](char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '-'; });
}

// A whole SQLSTATE, or its class.
bool is_sqlstate(std::string_view code) {
    return (code.size() == 5 || code.size() == 2) &&
           std::all_of(code.begin(), code.end(), [](char c) { return is_digit(c) || (c >= 'A' && c <= 'Z'); });
}

// 0 means "none", as for PostgreSQL's own timeouts.
std::optional<double> timeout_of(std::optional<double> ms) { return ms && *ms > 0 ? ms : std::nullopt; }

class Parser {
public:
    Parsed parse(const json &document);

private:
    void read_header(ObjectReader &top);
    void read_concurrency(ObjectReader &top);
    void read_nodes(ObjectReader &top);
    void read_node(const json &entry, const std::string &path);
    void read_node_id(ObjectReader &reader, Node &node);
    void read_retry(ObjectReader &reader, Node &node);
    void read_compensate(ObjectReader &reader, Node &node);
    const NodeType *read_type(ObjectReader &reader, const Member &member);
    void read_edges(ObjectReader &top);
    void read_edge(const json &entry, std::size_t position, const std::string &path);
    int read_end(ObjectReader &reader, std::string_view key, std::string_view alias);
    void connect(Edge edge, std::size_t position, const std::string &path);
    void infer_role(Node &node);
    void check_inputs();
    void sort();
    void name_cycles(const std::vector<int> &open_sources);
    std::string describe_cycle(const std::vector<int> &backwards) const;

    Definition definition_;
    std::vector<Fault> faults_;
    std::vector<std::optional<Role>> declared_roles_; // per node: its `type`, where that is a role
    std::vector<std::size_t> edge_positions_; // per edge: its place in the document
    std::unordered_set<std::uint64_t> connections_; // source and target of every edge
    std::unordered_set<std::string> edge_ids_;
};

Parsed Parser::parse(const json &document) {
    if (!document.is_object()) {
        faults_.push_back({"$", "a workflow definition is a JSON object"});
    } else if (json_depth(document, max_document_depth) > max_document_depth) {
        faults_.push_back({"$", "is nested deeper than " + std::to_string(max_document_depth) + " levels"});
    } else {
        ObjectReader top(document, "$", faults_);
        read_header(top);
        read_nodes(top);
        if (!definition_.nodes.empty()) // without nodes, every edge would be a fault of its own
            read_edges(top);
        for (Node &node : definition_.nodes)
            infer_role(node);
        check_inputs();
        sort();
    }
    Parsed parsed;
    parsed.faults = std::move(faults_);
    if (parsed.faults.empty())
        parsed.definition = std::move(definition_);
    return parsed;
}

// ---- header ----------------------------------------------------------------------------------

void Parser::read_header(ObjectReader &top) {
    const Member id = top.find({"id"});
    if (!id)
        top.fault("$.id", "is missing; a workflow needs an id");
    definition_.id = top.text(id).value_or("");
    if (id && id.value->is_string() && !is_workflow_id(definition_.id))
        top.fault(id.path, "must be 1 to 200 letters, digits, '_', '.' or '-'");

    definition_.name = top.text("name").value_or(definition_.id);
    definition_.description = top.text("description").value_or("");
    definition_.tags = top.texts("tags");
    definition_.timeout_ms = timeout_of(top.duration("timeout"));

    if (const Member version = top.find({"version"}); version && is_number(*version.value))
        definition_.version_label = number_text(*version.value);
    else
        definition_.version_label = top.text(version).value_or("");

    const Member metadata = top.object("metadata");
    definition_.metadata = metadata ? *metadata.value : json::object();
    read_concurrency(top);
}

void Parser::read_concurrency(ObjectReader &top) {
    const Member concurrency = top.object("concurrency");
    if (!concurrency)
        return;
    ObjectReader reader(*concurrency.value, concurrency.path, faults_);
    definition_.concurrency = json::object();
    if (const auto limit = reader.integer("limit", 1, std::numeric_limits<int>::max()))
        definition_.concurrency["limit"] = *limit;
    if (const auto key = reader.text("key"))
        definition_.concurrency["key"] = *key;
}

// ---- nodes -----------------------------------------------------------------------------------

void Parser::read_nodes(ObjectReader &top) {
    const Member nodes = top.find({"nodes"});
    if (nodes && !nodes.value->is_array()) {
        top.fault(nodes.path, "must be an array");
    } else if (!nodes || nodes.value->empty()) {
        top.fault("$.nodes", "a workflow needs at least one node");
    } else if (nodes.value->size() > max_nodes) {
        top.fault(nodes.path, "has " + std::to_string(nodes.value->size()) + " nodes; a workflow has at most " +
                                  std::to_string(max_nodes));
    } else {
        definition_.nodes.reserve(nodes.value->size());
        for (std::size_t i = 0; i < nodes.value->size(); i++)
            read_node((*nodes.value)[i], path_index(nodes.path, i));
    }
}

void Parser::read_node(const json &entry, const std::string &path) {
    Node &node = definition_.nodes.emplace_back();
    declared_roles_.emplace_back();
    if (!entry.is_object()) {
        faults_.push_back({path, "must be an object"});
        return;
    }
    ObjectReader reader(entry, path, faults_);
    read_node_id(reader, node);

    // React-Flow keeps what is not its own in `data`.
    const json none = json::object();
    const Member data = reader.find({"data"});
    ObjectReader inner(data && data.value->is_object() ? *data.value : none, path_key(path, "data"), faults_);
    const auto find_in_both = [&](std::string_view key) {
        const Member member = reader.find({key});
        return member ? member : inner.find({key});
    };

    // `type` is a role, or an editor's own component type, or the node type itself.
    const std::string declared = reader.text("type").value_or("");
    for (const Role role : {Role::source, Role::transform, Role::sink, Role::control})
        if (declared == role_name(role))
            declared_roles_.back() = role;
    Member type = find_in_both("node_type");
    if (!type && find_node_type(declared))
        type = reader.find({"type"});
    if (!type)
        reader.fault(path_key(path, "nodeType"), "is missing; a node needs a node type");
    node.type = read_type(reader, type);

    node.label = reader.text(find_in_both("label")).value_or(node.id);
    const Member config = find_in_both("config");
    if (node.type)
        node.config = check_config(*node.type, config ? *config.value : none,
                                   config ? config.path : path_key(path, "config"), faults_);

    read_retry(reader, node);
    node.timeout_ms = timeout_of(reader.duration("timeout"));
    if (!node.timeout_ms && node.type && node.type->timeout_in_config && node.config.contains("timeout"))
        node.timeout_ms = timeout_of(duration_ms(node.config["timeout"]).value);
    node.priority =
        reader.integer("priority", std::numeric_limits<int>::min(), std::numeric_limits<int>::max()).value_or(0);
    node.own_transaction = reader.boolean("own_transaction").value_or(false);
    node.on_failure = reader.choice<OnFailure>("on_failure",
                                               {{"fail", OnFailure::fail},
                                                {"continue", OnFailure::proceed},
                                                {"compensate", OnFailure::compensate}},
                                               OnFailure::fail);
    node.join = reader.choice<Join>("join", {{"all", Join::all}, {"any", Join::any}}, Join::all);
    read_compensate(reader, node);
}

void Parser::read_node_id(ObjectReader &reader, Node &node) {
    const Member id = reader.find({"id"});
    if (!id) {
        reader.fault(path_key(reader.path(), "id"), "is missing; a node needs an id");
        return;
    }
    const std::optional<std::string> text = reader.text(id);
    if (!text)
        return;
    node.id = *text;
    if (node.id == "input")
        reader.fault(id.path, "\"input\" is the name of a node's input; choose another id");
    else if (!is_node_id(node.id))
        reader.fault(id.path, "must be 1 to 63 letters, digits, '_' or '-', starting with a letter or '_'");
    const int position = static_cast<int>(definition_.nodes.size()) - 1;
    const auto [first, is_new] = definition_.index.emplace(node.id, position);
    if (!is_new)
        reader.fault(id.path, "\"" + std::string(beginning(node.id, 63)) + "\" is already the id of $.nodes[" +
                                  std::to_string(first->second) + "]");
}

const NodeType *Parser::read_type(ObjectReader &reader, const Member &member) {
    const std::optional<std::string> name = reader.text(member);
    if (!name)
        return nullptr;
    const NodeType *type = find_node_type(*name);
    if (!type)
        reader.fault(member.path, unknown_node_type(*name));
    return type;
}

void Parser::read_retry(ObjectReader &reader, Node &node) {
    const Member member = reader.object("retry");
    if (!member)
        return;
    ObjectReader retry(*member.value, member.path, faults_);
    RetryPolicy &policy = node.retry;
    if (const auto attempts = retry.integer("max_attempts", 1, std::numeric_limits<int>::max())) {
        policy.max_attempts = *attempts;
        policy.max_attempts_set = true;
    }
    policy.initial_interval_ms = retry.duration("initial_interval").value_or(policy.initial_interval_ms);
    policy.backoff = retry.number("backoff", 1, max_backoff).value_or(policy.backoff);
    policy.max_interval_ms = retry.duration("max_interval").value_or(policy.max_interval_ms);
    policy.jitter = retry.number("jitter", 0, 1).value_or(policy.jitter);

    const Member codes = retry.array("non_retryable");
    for (std::size_t i = 0; codes && i < codes.value->size(); i++) {
        const json &code = (*codes.value)[i];
        if (code.is_string() && is_sqlstate(code.get_ref<const std::string &>()))
            policy.non_retryable.push_back(code.get<std::string>());
        else
            retry.fault(path_index(codes.path, i), "must be an SQLSTATE like \"23505\", or a class like \"22\"");
    }
}

void Parser::read_compensate(ObjectReader &reader, Node &node) {
    const Member member = reader.object("compensate");
    if (!member)
        return;
    ObjectReader inner(*member.value, member.path, faults_);
    const Member name = inner.find({"node_type"});
    if (!name)
        inner.fault(path_key(member.path, "nodeType"), "is missing; a node needs a node type");
    const NodeType *type = read_type(inner, name);
    if (!type)
        return;
    if (std::all_of(type->roles.begin(), type->roles.end(), [](Role role) { return role == Role::control; })) {
        inner.fault(name.path, std::string(type->name) + " cannot compensate: it does not end in one step");
        return;
    }
    const Member config = inner.find({"config"});
    const json none = json::object();
    auto undo = std::make_shared<Node>();
    undo->id = node.id;
    undo->type = type;
    undo->label = node.label;
    undo->role = type->roles.front();
    undo->config = check_config(*type, config ? *config.value : none,
                                config ? config.path : path_key(member.path, "config"), faults_);
    read_retry(inner, *undo);
    if (!inner.find({"retry"}) && node.retry.max_attempts_set)
        undo->retry = node.retry;
    if (!undo->retry.max_attempts_set) // undoing is worth more than one try
        undo->retry.max_attempts = compensation_attempts;
    undo->retry.max_attempts_set = true;
    undo->timeout_ms = timeout_of(inner.duration("timeout"));
    if (!undo->timeout_ms && type->timeout_in_config && undo->config.contains("timeout"))
        undo->timeout_ms = timeout_of(duration_ms(undo->config["timeout"]).value);
    node.compensate = std::move(undo);
}

// ---- edges -----------------------------------------------------------------------------------

void Parser::read_edges(ObjectReader &top) {
    const Member edges = top.array("edges");
    if (!edges)
        return;
    definition_.edges.reserve(edges.value->size());
    for (std::size_t i = 0; i < edges.value->size(); i++)
        read_edge((*edges.value)[i], i, path_index(edges.path, i));
}

void Parser::read_edge(const json &entry, std::size_t position, const std::string &path) {
    if (!entry.is_object()) {
        faults_.push_back({path, "must be an object"});
        return;
    }
    ObjectReader reader(entry, path, faults_);
    Edge edge;
    edge.source = read_end(reader, "source", "from");
    edge.target = read_end(reader, "target", "to");

    Member condition = reader.find({"condition"});
    const Member data = reader.find({"data"});
    if (!condition && data && data.value->is_object())
        condition = ObjectReader(*data.value, data.path, faults_).find({"condition"});
    edge.condition = reader.text(condition);
    if (edge.condition && trim(*edge.condition).empty())
        edge.condition.reset(); // an editor's empty box

    if (const Member id = reader.find({"id"})) {
        edge.id = reader.text(id).value_or("");
        if (!edge.id.empty() && !edge_ids_.insert(edge.id).second)
            reader.fault(id.path, "is already the id of another edge");
    }
    if (edge.source >= 0 && edge.target >= 0)
        connect(std::move(edge), position, path);
}

// The node at one end of an edge, -1 (with its fault) when there is none.
int Parser::read_end(ObjectReader &reader, std::string_view key, std::string_view alias) {
    const Member member = reader.find({key, alias});
    if (!member)
        reader.fault(path_key(reader.path(), key), "is missing; an edge needs a node here");
    const std::optional<std::string> id = reader.text(member);
    if (!id)
        return -1;
    const int node = definition_.find(*id);
    if (node < 0)
        reader.fault(member.path, "there is no node \"" + std::string(beginning(*id, 100)) + "\"");
    return node;
}

void Parser::connect(Edge edge, std::size_t position, const std::string &path) {
    Node &source = definition_.nodes[edge.source];
    Node &target = definition_.nodes[edge.target];
    if (edge.source == edge.target) {
        faults_.push_back({path, "leads from node \"" + source.id + "\" to itself"});
        return;
    }
    const std::uint64_t connection =
        static_cast<std::uint64_t>(edge.source) << 32 | static_cast<std::uint32_t>(edge.target);
    if (!connections_.insert(connection).second) {
        faults_.push_back({path, "there is already an edge from \"" + source.id + "\" to \"" + target.id + "\""});
        return;
    }
    if (edge.id.empty())
        edge.id = source.id + "->" + target.id;
    const int index = static_cast<int>(definition_.edges.size());
    source.out.push_back(index);
    target.in.push_back(index);
    definition_.edges.push_back(std::move(edge));
    edge_positions_.push_back(position);
}

// ---- the graph as a whole --------------------------------------------------------------------

// The declared role if the type can play it, else the one that the edges suggest.
void Parser::infer_role(Node &node) {
    if (!node.type)
        return;
    const std::optional<Role> declared = declared_roles_[&node - definition_.nodes.data()];
    const Role by_edges = node.in.empty() ? Role::source : node.out.empty() ? Role::sink : Role::transform;
    node.role = node.type->roles.front();
    for (const Role role : {Role::transform, by_edges, declared.value_or(by_edges)})
        if (node.type->has_role(role))
            node.role = role;
}

void Parser::check_inputs() {
    for (std::size_t i = 0; i < definition_.nodes.size(); i++) {
        const Node &node = definition_.nodes[i];
        if (node.type && node.type->needs_input && node.in.empty())
            faults_.push_back({path_index("$.nodes", i), std::string(node.type->name) +
                                                             " needs an incoming edge: it works on "
                                                             "the rows of another node"});
    }
}

void Parser::sort() {
    const std::vector<Node> &nodes = definition_.nodes;
    std::vector<int> &order = definition_.topological;
    std::vector<int> open_sources; // per node: incoming edges from nodes not in the order yet
    open_sources.reserve(nodes.size());
    order.reserve(nodes.size());
    for (const Node &node : nodes) {
        open_sources.push_back(static_cast<int>(node.in.size()));
        if (node.in.empty())
            order.push_back(static_cast<int>(&node - nodes.data()));
    }
    for (std::size_t next = 0; next < order.size(); next++)
        for (const int edge : nodes[order[next]].out)
            if (const int target = definition_.edges[edge].target; --open_sources[target] == 0)
                order.push_back(target);
    if (order.size() < nodes.size())
        name_cycles(open_sources);
}

// Every node that Kahn's algorithm left over has a left-over source. Following one of them from
// each node ends in a cycle; each cycle met this way is named once.
void Parser::name_cycles(const std::vector<int> &open_sources) {
    std::vector<int> visited_by(open_sources.size(), -1); // the walk that came here first
    for (int start = 0; start < static_cast<int>(open_sources.size()); start++) {
        if (open_sources[start] == 0 || visited_by[start] >= 0)
            continue;
        std::vector<int> walk; // edges, each from a node back to its source
        int node = start;
        while (visited_by[node] < 0) {
            visited_by[node] = start;
            const std::vector<int> &in = definition_.nodes[node].in;
            walk.push_back(*std::find_if(in.begin(), in.end(),
                                         [&](int edge) { return open_sources[definition_.edges[edge].source] > 0; }));
            node = definition_.edges[walk.back()].source;
        }
        if (visited_by[node] != start)
            continue; // ended in a cycle that is named already
        const auto first =
            std::find_if(walk.begin(), walk.end(), [&](int edge) { return definition_.edges[edge].target == node; });
        const std::vector<int> cycle(first, walk.end());
        faults_.push_back({path_index("$.edges", edge_positions_[cycle.front()]), describe_cycle(cycle)});
    }
}

std::string Parser::describe_cycle(const std::vector<int> &backwards) const {
    const auto source_of = [&](int edge) -> const std::string & {
        return definition_.nodes[definition_.edges[edge].source].id;
    };
    std::string text = "closes a cycle: " + definition_.nodes[definition_.edges[backwards.front()].target].id;
    std::size_t named = 0;
    for (auto edge = backwards.rbegin(); edge != backwards.rend(); ++edge) {
        if (edge == backwards.rbegin())
            continue; // its source is where the text begins
        if (++named == max_cycle_nodes_named) {
            text += " -> … " + std::to_string(backwards.size() - named) + " more …";
            break;
        }
        text += " -> " + source_of(*edge);
    }
    return text + " -> " + definition_.nodes[definition_.edges[backwards.front()].target].id;
}

} // namespace

int Definition::find(std::string_view node_id) const {
    const auto found = index.find(std::string(node_id));
    return found == index.end() ? -1 : found->second;
}

Parsed parse_definition(const json &document) { return Parser().parse(document); }

json config_value(const Node &node, std::string_view field) { return config_value(*node.type, node.config, field); }

} // namespace chronicle::core
