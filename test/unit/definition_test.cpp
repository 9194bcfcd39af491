#include "core/definition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace chronicle::core;

namespace {

std::vector<Fault> faults_of(const json &document) {
    Parsed parsed = parse_definition(document);
    EXPECT_EQ(parsed.definition.has_value(), parsed.faults.empty());
    return parsed.faults;
}

std::vector<Fault> faults_of(const char *text) { return faults_of(json::parse(text)); }

// The paths alone, for tests in which the wording does not matter.
std::vector<std::string> paths_of(const char *text) {
    std::vector<std::string> paths;
    for (const Fault &fault : faults_of(text)) {
        EXPECT_FALSE(fault.problem.empty()) << fault.path;
        paths.push_back(fault.path);
    }
    return paths;
}

using Paths = std::vector<std::string>;

Definition parsed(const json &document) {
    Parsed result = parse_definition(document);
    for (const Fault &fault : result.faults)
        ADD_FAILURE() << fault.path << ": " << fault.problem;
    return result.definition.value_or(Definition{});
}

Definition parsed(const char *text) { return parsed(json::parse(text)); }

// A document whose nodes are sql.query, one per letter, with edges like "ab".
json graph(std::string_view nodes, const std::vector<std::string> &edges) {
    json document = {{"id", "w"}, {"nodes", json::array()}, {"edges", json::array()}};
    for (const char id : nodes)
        document["nodes"].push_back(
            {{"id", std::string(1, id)}, {"nodeType", "sql.query"}, {"config", {{"sql", "x"}}}});
    for (const std::string &edge : edges)
        document["edges"].push_back({{"source", edge.substr(0, 1)}, {"target", edge.substr(1)}});
    return document;
}

// A document with one good node that also has these members.
json with_node(const char *members) {
    json node = json::parse(members);
    node.update({{"id", "a"}, {"nodeType", "sql.query"}, {"config", {{"sql", "x"}}}});
    return {{"id", "w"}, {"nodes", {node}}};
}

Paths node_paths(const char *members) {
    Paths paths;
    for (const Fault &fault : faults_of(with_node(members)))
        paths.push_back(fault.path);
    return paths;
}

// ---- what is accepted ------------------------------------------------------------------------

TEST(Definition, SmallestOne) {
    const Definition definition = parsed(R"({"id": "w", "nodes": [{"id": "a", "nodeType": "sequence.numbers"}]})");
    EXPECT_EQ(definition.id, "w");
    EXPECT_EQ(definition.name, "w");
    EXPECT_EQ(definition.nodes.size(), 1u);
    EXPECT_EQ(definition.topological, std::vector<int>{0});
    EXPECT_FALSE(definition.timeout_ms);
    EXPECT_TRUE(definition.concurrency.is_null());
    EXPECT_EQ(definition.metadata, json::object());
    const Node &node = definition.nodes[0];
    EXPECT_EQ(node.label, "a");
    EXPECT_EQ(node.type, find_node_type("sequence.numbers"));
    EXPECT_EQ(node.role, Role::source);
    EXPECT_EQ(node.retry.max_attempts, 1);
    EXPECT_FALSE(node.retry.max_attempts_set);
    EXPECT_EQ(node.on_failure, OnFailure::fail);
    EXPECT_EQ(node.join, Join::all);
    EXPECT_EQ(config_value(node, "end"), 100);
}

const char *full = R"({
  "id": "order-fulfilment", "name": "Orders", "description": "d", "version": "1.0", "author": "me", "tags": ["a", "b"],
  "nodes": [
    {"id": "reserve", "type": "source", "nodeType": "sql.query", "label": "Reserve", "position": {"x": 0, "y": 0},
     "config": {"sql": "SELECT 1", "timeout": 5},
     "retry": {"max_attempts": 3, "initial_interval": "2s", "backoff": 1.5, "max_interval": "5min", "jitter": 0.25,
               "non_retryable": ["23505", "22"]},
     "timeout": "30s", "priority": -2, "own_transaction": true, "on_failure": "compensate",
     "compensate": {"nodeType": "sql.query", "config": {"query": "SELECT 2"}}},
    {"id": "check", "nodeType": "filter.condition", "config": {"condition": "total > 1"}, "on_failure": "continue"},
    {"id": "charge", "type": "sink", "nodeType": "table.write", "config": {"table": "t"}, "join": "any"}
  ],
  "edges": [
    {"id": "e1", "source": "reserve", "target": "check", "condition": "$.total > 100"},
    {"from": "check", "to": "charge", "condition": ""}
  ],
  "timeout": "1h", "concurrency": {"limit": "10", "key": "$.input.customer"},
  "metadata": {"schedule": {"enabled": true}}, "viewport": {"x": 1}
})";

TEST(Definition, FullOne) {
    const Definition definition = parsed(full);
    EXPECT_EQ(definition.name, "Orders");
    EXPECT_EQ(definition.version_label, "1.0");
    EXPECT_EQ(definition.tags, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(definition.timeout_ms, 3'600'000);
    EXPECT_EQ(definition.concurrency, json::parse(R"({"limit": 10, "key": "$.input.customer"})"));
    EXPECT_EQ(definition.metadata["schedule"]["enabled"], true);
    EXPECT_EQ(definition.topological, (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(definition.find("charge"), 2);
    EXPECT_EQ(definition.find("nobody"), -1);

    const Node &reserve = definition.nodes[0];
    EXPECT_EQ(reserve.label, "Reserve");
    EXPECT_EQ(reserve.retry.max_attempts, 3);
    EXPECT_TRUE(reserve.retry.max_attempts_set);
    EXPECT_EQ(reserve.retry.initial_interval_ms, 2000);
    EXPECT_EQ(reserve.retry.backoff, 1.5);
    EXPECT_EQ(reserve.retry.max_interval_ms, 300'000);
    EXPECT_EQ(reserve.retry.jitter, 0.25);
    EXPECT_EQ(reserve.retry.non_retryable, (std::vector<std::string>{"23505", "22"}));
    EXPECT_EQ(reserve.timeout_ms, 30'000);
    EXPECT_EQ(reserve.priority, -2);
    EXPECT_TRUE(reserve.own_transaction);
    EXPECT_EQ(reserve.on_failure, OnFailure::compensate);
    ASSERT_TRUE(reserve.compensate);
    EXPECT_EQ(reserve.compensate->id, "reserve");
    EXPECT_EQ(reserve.compensate->type->name, "sql.query");
    EXPECT_EQ(reserve.compensate->config, json::parse(R"({"sql": "SELECT 2"})"));
    EXPECT_EQ(reserve.out, std::vector<int>{0});

    EXPECT_EQ(definition.nodes[1].on_failure, OnFailure::proceed);
    EXPECT_EQ(definition.nodes[1].in, std::vector<int>{0});
    EXPECT_EQ(definition.nodes[1].out, std::vector<int>{1});
    EXPECT_EQ(definition.nodes[2].join, Join::any);

    EXPECT_EQ(definition.edges[0].id, "e1");
    EXPECT_EQ(definition.edges[0].condition, "$.total > 100");
    EXPECT_EQ(definition.edges[1].id, "check->charge");
    EXPECT_EQ(definition.edges[1].source, 1);
    EXPECT_EQ(definition.edges[1].target, 2);
    EXPECT_FALSE(definition.edges[1].condition);
}

TEST(Definition, CamelCaseMeansTheSame) {
    const Definition definition = parsed(with_node(R"({
        "retry": {"maxAttempts": 3, "initialInterval": 0.5, "maxInterval": 2, "nonRetryable": ["40"]},
        "ownTransaction": true, "onFailure": "continue"})"));
    const Node &node = definition.nodes[0];
    EXPECT_EQ(node.retry.max_attempts, 3);
    EXPECT_EQ(node.retry.initial_interval_ms, 500);
    EXPECT_EQ(node.retry.max_interval_ms, 2000);
    EXPECT_EQ(node.retry.non_retryable, std::vector<std::string>{"40"});
    EXPECT_TRUE(node.own_transaction);
    EXPECT_EQ(node.on_failure, OnFailure::proceed);
    EXPECT_EQ(parsed(R"({"id": "w", "nodes": [{"id": "a", "node_type": "console.log"}]})").nodes[0].type->name,
              "console.log");
}

TEST(Definition, ExportOfAReactFlowEditor) {
    const Definition definition = parsed(R"({
        "id": "flow", "viewport": {"x": 0, "y": 0, "zoom": 1}, "whatever": [1],
        "nodes": [
          {"id": "n1", "type": "custom", "position": {"x": 1, "y": 2}, "measured": {"width": 3},
           "data": {"label": "Numbers", "nodeType": "sequence.numbers", "config": {"end": "5"}, "icon": "#"}},
          {"id": "n2", "type": "workflowNode", "data": {"label": "Log", "node_type": "console.log"}, "selected": false}
        ],
        "edges": [{"id": "xy-edge__n1-n2", "source": "n1", "target": "n2", "type": "smoothstep", "animated": true,
                   "sourceHandle": null, "data": {"condition": "$.value > 1"}}]})");
    EXPECT_EQ(definition.nodes[0].label, "Numbers");
    EXPECT_EQ(config_value(definition.nodes[0], "end"), 5);
    EXPECT_EQ(definition.nodes[1].role, Role::sink);
    EXPECT_EQ(definition.edges[0].condition, "$.value > 1");
}

TEST(Definition, ConfigInDataHasItsOwnPath) {
    EXPECT_EQ(paths_of(
                  R"({"id": "w", "nodes": [{"id": "a", "data": {"nodeType": "sql.query", "config": {"sql": 1}}}]})"),
              (Paths{"$.nodes[0].data.config.sql"}));
}

TEST(Definition, TypeMayNameTheNodeType) {
    EXPECT_EQ(parsed(R"({"id": "w", "nodes": [{"id": "a", "type": "console.log"}]})").nodes[0].type->name,
              "console.log");
}

TEST(Definition, RoleIsDeclaredOrFollowsFromTheEdges) {
    const Definition chain = parsed(graph("abc", {"ab", "bc"}));
    EXPECT_EQ(chain.nodes[0].role, Role::source);
    EXPECT_EQ(chain.nodes[1].role, Role::transform);
    EXPECT_EQ(chain.nodes[2].role, Role::transform); // sql.query is no sink
    json declared = graph("ab", {"ab"});
    declared["nodes"][1]["type"] = "source";
    declared["nodes"][0]["type"] = "sink"; // which sql.query cannot be
    EXPECT_EQ(parsed(declared).nodes[0].role, Role::source);
    EXPECT_EQ(parsed(declared).nodes[1].role, Role::source);
}

TEST(Definition, NullCountsAsMissing) {
    parsed(with_node(R"({"retry": null, "timeout": null, "priority": null, "type": null, "label": null, "data": null,
                         "on_failure": null, "join": null, "compensate": null, "own_transaction": null})"));
    parsed(R"({"id": "w", "name": null, "tags": null, "edges": null, "metadata": null, "concurrency": null,
               "timeout": null, "version": null, "nodes": [{"id": "a", "nodeType": "console.log", "config": null}]})");
}

TEST(Definition, TimeoutOfNodeThenOfConfig) {
    json document = with_node("{}");
    document["nodes"][0]["config"]["timeout"] = "5s";
    EXPECT_EQ(parsed(document).nodes[0].timeout_ms, 5000);
    document["nodes"][0]["timeout"] = 7;
    EXPECT_EQ(parsed(document).nodes[0].timeout_ms, 7000);
    document["nodes"][0]["config"]["timeout"] = {{"$", "$.input.t"}};
    document["nodes"][0]["timeout"] = 0;
    EXPECT_FALSE(parsed(document).nodes[0].timeout_ms);
}

TEST(Definition, VersionMayBeANumber) {
    json document = with_node("{}");
    document["version"] = 3;
    EXPECT_EQ(parsed(document).version_label, "3");
    document["version"] = parse_json("1.10").value.value();
    EXPECT_EQ(parsed(document).version_label, "1.10");
}

TEST(Definition, OrderRespectsEdges) {
    const Definition definition = parsed(graph("abcd", {"dc", "ca", "db", "ba"}));
    EXPECT_EQ(definition.topological, (std::vector<int>{3, 2, 1, 0}));
}

// ---- what is refused -------------------------------------------------------------------------

TEST(Faults, DocumentOfAWrongKind) {
    for (const char *text : {"null", "[]", "5", "\"x\""})
        EXPECT_EQ(paths_of(text), Paths{"$"}) << text;
    EXPECT_EQ(paths_of("{}"), (Paths{"$.id", "$.nodes"}));
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": []})"), Paths{"$.nodes"});
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": {"a": 1}})"), Paths{"$.nodes"});
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": [1, null, []]})"), (Paths{"$.nodes[0]", "$.nodes[1]", "$.nodes[2]"}));
}

TEST(Faults, HeaderOfWrongKinds) {
    EXPECT_EQ(paths_of(R"({"id": 5, "name": [], "description": 1, "version": true, "tags": ["a", 1], "timeout": "x",
                           "metadata": [], "concurrency": {"limit": 0, "key": 5},
                           "nodes": [{"id": "a", "nodeType": "console.log"}], "edges": 5})"),
              (Paths{"$.id", "$.name", "$.description", "$.tags[1]", "$.timeout", "$.version", "$.metadata",
                     "$.concurrency.limit", "$.concurrency.key", "$.edges"}));
    EXPECT_EQ(paths_of(
                  R"({"id": "w", "tags": "a", "concurrency": 5, "nodes": [{"id": "a", "nodeType": "console.log"}]})"),
              (Paths{"$.tags", "$.concurrency"}));
}

TEST(Faults, WorkflowIds) {
    const auto accepts = [](std::string id) {
        json document = graph("a", {});
        document["id"] = id;
        return faults_of(document).empty();
    };
    for (const std::string &id : std::vector<std::string>{"a", "A.b_c-9", "9", "-", std::string(200, 'x')})
        EXPECT_TRUE(accepts(id)) << id;
    for (const std::string &id : std::vector<std::string>{"", "a b", "a/b", "ä", "a\n", std::string(201, 'x')})
        EXPECT_FALSE(accepts(id)) << id;
}

TEST(Faults, NodeIds) {
    const auto accepts = [](std::string id) {
        json document = graph("a", {});
        document["nodes"][0]["id"] = id;
        return faults_of(document).empty();
    };
    for (const std::string &id : std::vector<std::string>{"a", "_", "A-b_9", "inputs", std::string(63, 'x')})
        EXPECT_TRUE(accepts(id)) << id;
    for (const std::string &id :
         std::vector<std::string>{"", "9a", "-a", "a.b", "a b", "input", "ä", "a\n", std::string(64, 'x')})
        EXPECT_FALSE(accepts(id)) << id;
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": [{"id": 1, "nodeType": "console.log"}, {"nodeType": "console.log"}]})"),
              (Paths{"$.nodes[0].id", "$.nodes[1].id"}));
}

TEST(Faults, DuplicateNodeIdsNameTheFirst) {
    const auto faults = faults_of(graph("aba", {}));
    ASSERT_EQ(faults.size(), 1u);
    EXPECT_EQ(faults[0], (Fault{"$.nodes[2].id", "\"a\" is already the id of $.nodes[0]"}));
}

TEST(Faults, NodeTypes) {
    EXPECT_EQ(paths_of(
                  R"({"id": "w", "nodes": [{"id": "a"}, {"id": "b", "nodeType": "shell"}, {"id": "c", "nodeType": 5},
                                               {"id": "d", "data": {"nodeType": "sql.qery"}}]})"),
              (Paths{"$.nodes[0].nodeType", "$.nodes[1].nodeType", "$.nodes[2].nodeType", "$.nodes[3].data.nodeType"}));
    const auto faults = faults_of(R"({"id": "w", "nodes": [{"id": "b", "nodeType": "sql.qery"}]})");
    EXPECT_NE(faults.at(0).problem.find("did you mean \"sql.query\"?"), std::string::npos);
}

TEST(Faults, ConfigsAreCheckedAtTheirPlace) {
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": [{"id": "a", "nodeType": "sql.query"},
                                               {"id": "b", "nodeType": "sql.query", "config": {"sql": "x", "nonsense": 1}},
                                               {"id": "c", "nodeType": "sql.query", "config": "x"}]})"),
              (Paths{"$.nodes[0].config.sql", "$.nodes[1].config.nonsense", "$.nodes[2].config"}));
}

TEST(Faults, NodeMembersOfWrongKinds) {
    EXPECT_EQ(node_paths(R"({"label": 5, "type": 5, "timeout": "soon", "priority": 1.5, "own_transaction": "yes",
                             "on_failure": "ignore", "join": "some", "retry": 3, "compensate": "x"})"),
              (Paths{"$.nodes[0].type", "$.nodes[0].label", "$.nodes[0].retry", "$.nodes[0].timeout",
                     "$.nodes[0].priority", "$.nodes[0].own_transaction", "$.nodes[0].on_failure", "$.nodes[0].join",
                     "$.nodes[0].compensate"}));
    EXPECT_EQ(node_paths(R"({"priority": 3000000000})"), Paths{"$.nodes[0].priority"});
    EXPECT_EQ(node_paths(R"({"onFailure": true})"), Paths{"$.nodes[0].onFailure"});
}

TEST(Faults, Retry) {
    EXPECT_EQ(node_paths(R"({"retry": {"max_attempts": 0, "initial_interval": -1, "backoff": 0.5, "max_interval": "x",
                                       "jitter": 1.5, "non_retryable": ["23505", "2", "abcde", 22, "235050"]}})"),
              (Paths{"$.nodes[0].retry.max_attempts", "$.nodes[0].retry.initial_interval", "$.nodes[0].retry.backoff",
                     "$.nodes[0].retry.max_interval", "$.nodes[0].retry.jitter", "$.nodes[0].retry.non_retryable[1]",
                     "$.nodes[0].retry.non_retryable[2]", "$.nodes[0].retry.non_retryable[3]",
                     "$.nodes[0].retry.non_retryable[4]"}));
    EXPECT_EQ(node_paths(R"({"retry": {"maxAttempts": "many", "nonRetryable": "22", "jitter": -0.1}})"),
              (Paths{"$.nodes[0].retry.maxAttempts", "$.nodes[0].retry.jitter", "$.nodes[0].retry.nonRetryable"}));
}

TEST(Faults, Compensate) {
    EXPECT_EQ(node_paths(R"({"compensate": {}})"), Paths{"$.nodes[0].compensate.nodeType"});
    EXPECT_EQ(node_paths(R"({"compensate": {"nodeType": "shell"}})"), Paths{"$.nodes[0].compensate.nodeType"});
    EXPECT_EQ(node_paths(R"({"compensate": {"node_type": "sql.query"}})"), Paths{"$.nodes[0].compensate.config.sql"});
    EXPECT_EQ(node_paths(R"({"compensate": {"nodeType": "sql.query", "config": {"sql": 1}}})"),
              Paths{"$.nodes[0].compensate.config.sql"});
}

TEST(Faults, NodesThatWorkOnRowsNeedAnEdge) {
    EXPECT_EQ(paths_of(R"({"id": "w", "nodes": [{"id": "a", "nodeType": "filter", "config": {"condition": "x"}},
                                               {"id": "b", "nodeType": "table.write", "config": {"table": "x"}},
                                               {"id": "c", "nodeType": "console.log"}]})"),
              (Paths{"$.nodes[0]", "$.nodes[1]"}));
}

TEST(Faults, Edges) {
    json document = graph("ab", {"ab"});
    document["edges"] = json::parse(R"([
        {"id": "x", "source": "a", "target": "b"}, {"source": "a", "target": "nobody"}, {"from": "nobody", "to": "b"},
        {"source": "a"}, {"target": 5, "source": "a"}, 7, {"source": "a", "target": "a"}, {"from": "a", "to": "b"},
        {"id": "x", "source": "a", "target": "b"}, {"id": 5, "source": "b", "target": "nobody", "condition": 1}])");
    std::vector<std::string> paths;
    for (const Fault &fault : faults_of(document))
        paths.push_back(fault.path);
    EXPECT_EQ(paths, (Paths{"$.edges[1].target", "$.edges[2].from", "$.edges[3].target", "$.edges[4].target",
                            "$.edges[5]", "$.edges[6]", "$.edges[7]", "$.edges[8].id", "$.edges[8]",
                            "$.edges[9].target", "$.edges[9].condition", "$.edges[9].id"}));
}

TEST(Faults, EdgeToAFaultyNodeIsNoFaultOfItsOwn) {
    EXPECT_EQ(
        paths_of(
            R"({"id": "w", "nodes": [{"id": "input", "nodeType": "nonsense"}, {"id": "b", "nodeType": "console.log"}],
                          "edges": [{"source": "input", "target": "b"}]})"),
        (Paths{"$.nodes[0].id", "$.nodes[0].nodeType"}));
}

TEST(Faults, CyclesAreNamed) {
    EXPECT_EQ(faults_of(graph("abc", {"ab", "bc", "ca"})),
              (std::vector<Fault>{{"$.edges[2]", "closes a cycle: a -> b -> c -> a"}}));
    EXPECT_EQ(faults_of(graph("ab", {"ab", "ba"})),
              (std::vector<Fault>{{"$.edges[1]", "closes a cycle: a -> b -> a"}}));
}

TEST(Faults, CycleWithTailsNamesOnlyTheCycle) {
    const auto faults = faults_of(graph("sabct", {"sa", "ab", "bc", "ca", "ct"}));
    ASSERT_EQ(faults.size(), 1u);
    EXPECT_EQ(faults[0].problem, "closes a cycle: a -> b -> c -> a");
    const auto from_the_tail = faults_of(graph("tsabc", {"ct", "ca", "sa", "ab", "bc"}));
    ASSERT_EQ(from_the_tail.size(), 1u);
    EXPECT_EQ(from_the_tail[0], (Fault{"$.edges[4]", "closes a cycle: c -> a -> b -> c"}));
}

TEST(Faults, SeparateCyclesAreNamedEach) { EXPECT_EQ(faults_of(graph("abcd", {"ab", "ba", "cd", "dc"})).size(), 2u); }

TEST(Faults, CycleIsFoundBesideOtherFaults) {
    json document = graph("ab", {"ab", "ba"});
    document["nodes"][0]["nodeType"] = "nonsense";
    EXPECT_EQ(faults_of(document).size(), 2u);
}

// A long chain with an edge from its end to its beginning.
TEST(Faults, LongCycleIsShortened) {
    json document = {{"id", "w"}, {"nodes", json::array()}, {"edges", json::array()}};
    for (int i = 0; i < 10'000; i++) {
        document["nodes"].push_back({{"id", "n" + std::to_string(i)}, {"nodeType", "console.log"}});
        document["edges"].push_back(
            {{"from", "n" + std::to_string(i)}, {"to", "n" + std::to_string((i + 1) % 10'000)}});
    }
    const auto faults = faults_of(document);
    ASSERT_EQ(faults.size(), 1u);
    EXPECT_EQ(faults[0].path, "$.edges[9999]");
    EXPECT_LT(faults[0].problem.size(), 300u);
    EXPECT_NE(faults[0].problem.find("9980 more"), std::string::npos) << faults[0].problem;
}

TEST(Faults, AtMostTenThousandNodes) {
    json document = {{"id", "w"}, {"nodes", json::array()}, {"edges", json::array()}};
    for (int i = 0; i < 10'000; i++)
        document["nodes"].push_back({{"id", "n" + std::to_string(i)}, {"nodeType", "console.log"}});
    EXPECT_TRUE(faults_of(document).empty());
    document["nodes"].push_back({{"id", "more"}, {"nodeType", "console.log"}});
    document["edges"].push_back({{"from", "more"}, {"to", "nobody"}});
    const auto faults = faults_of(document);
    ASSERT_EQ(faults.size(), 1u);
    EXPECT_EQ(faults[0].path, "$.nodes");
}

TEST(Faults, DeepNestingIsRefused) {
    json deep = 1;
    for (int i = 0; i < 300; i++)
        deep = json::array({std::move(deep)});
    json document = graph("a", {});
    document["nodes"][0]["config"]["parameters"] = {{"deep", deep}};
    const auto faults = faults_of(document);
    ASSERT_EQ(faults.size(), 1u);
    EXPECT_EQ(faults[0].path, "$");
}

TEST(Faults, AllAtOnce) {
    EXPECT_EQ(paths_of(R"({"id": "a b", "timeout": -1,
                          "nodes": [{"id": "1", "nodeType": "sql.query", "config": {"sqll": ""}, "join": 5},
                                    {"id": "b", "nodeType": "nonsense"}],
                          "edges": [{"source": "b", "target": "b"}, {"source": "b", "target": "c"}]})"),
              (Paths{"$.id", "$.timeout", "$.nodes[0].id", "$.nodes[0].config.sqll", "$.nodes[0].config.sql",
                     "$.nodes[0].join", "$.nodes[1].nodeType", "$.edges[0]", "$.edges[1].target"}));
}

// ---- content ---------------------------------------------------------------------------------

TEST(Content, LayoutDoesNotCount) {
    const json document = json::parse(full);
    json moved = document;
    moved["viewport"] = {{"x", 99}};
    moved["nodes"][0]["position"] = {{"x", 5}, {"y", 7}};
    moved["nodes"][1]["positionAbsolute"] = {{"x", 5}};
    moved["nodes"][1]["z_index"] = 5;
    for (const char *key : {"width", "height", "selected", "dragging", "zIndex", "style"})
        moved["nodes"][2][key] = 1;
    moved["edges"][0]["selected"] = true;
    moved["edges"][0]["type"] = "smoothstep";
    moved["edges"][0]["style"] = {{"stroke", "red"}};
    EXPECT_NE(document, moved);
    EXPECT_EQ(content_of(document), content_of(moved));
}

TEST(Content, EverythingElseCounts) {
    const json document = json::parse(full);
    const std::vector<std::pair<const char *, json>> changes = {{"/name", "x"},
                                                                {"/version", "2"},
                                                                {"/nodes/0/config/sql", "x"},
                                                                {"/nodes/0/type", "transform"},
                                                                {"/nodes/0/label", "x"},
                                                                {"/edges/0/condition", ""},
                                                                {"/nodes/0/config/width", 5},
                                                                {"/metadata/position", 5}};
    for (const auto &[pointer, value] : changes) {
        json changed = document;
        changed[json::json_pointer(pointer)] = value;
        EXPECT_NE(content_of(document), content_of(changed)) << pointer;
    }
}

TEST(Content, OfAnythingIsSafe) {
    for (const char *text : {"null", "[]", "{}", R"({"nodes": 5, "edges": [1, null]})"})
        EXPECT_EQ(content_of(json::parse(text)), json::parse(text));
}

} // namespace
