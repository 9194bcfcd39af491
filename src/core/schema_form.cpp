// Entries are made from a queue, so a schema of any depth takes no stack. References by JSON pointer ("#/…") are looked
// up in the schema itself; any other reference is a fault, and nothing is ever fetched.
//
// Some keywords apply another subschema to the same value (allOf, $ref …). If they came back to where they began, no
// value could ever be checked, so their cycles are faults, too; cycles through properties or items end with the data.
#include "core/schema_form.hpp"

#include <cctype>
#include <cmath>
#include <deque>
#include <unordered_map>

namespace chronicle::core {

namespace {

constexpr std::size_t max_entries = 10000;
constexpr std::string_view draft7 = "http://json-schema.org/draft-07/schema";

std::string without_end(std::string_view text, char end) {
    if (!text.empty() && text.back() == end)
        text.remove_suffix(1);
    return std::string(text);
}

// %41 in the fragment of a URI.
std::string percent_decoded(std::string_view text) {
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); i++) {
        if (text[i] == '%' && i + 2 < text.size() && std::isxdigit(static_cast<unsigned char>(text[i + 1])) &&
            std::isxdigit(static_cast<unsigned char>(text[i + 2]))) {
            decoded += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
            i += 2;
        } else {
            decoded += text[i];
        }
    }
    return decoded;
}

// The value that a JSON pointer leads to, and its path; nullptr: nowhere.
const json *resolve_pointer(const json &root, std::string_view pointer, std::string &path) {
    const json *at = &root;
    path = "$";
    while (!pointer.empty()) {
        if (pointer.front() != '/')
            return nullptr;
        pointer.remove_prefix(1);
        std::string token(pointer.substr(0, pointer.find('/')));
        pointer.remove_prefix(token.size());
        for (std::size_t i = 0; (i = token.find('~', i)) != std::string::npos; i++)
            token.replace(i, 2, token.compare(i, 2, "~1") == 0 ? "/" : "~");
        if (at->is_object() && at->contains(token)) {
            at = &(*at)[token];
            path = path_key(path, token);
        } else if (std::size_t index; at->is_array() && !token.empty() && token.size() < 10 &&
                                      token.find_first_not_of("0123456789") == std::string::npos &&
                                      (index = std::stoul(token)) < at->size()) {
            at = &(*at)[index];
            path = path_index(path, index);
        } else {
            return nullptr;
        }
    }
    return at;
}

class FormMaker {
public:
    FormMaker(const json &schema, SchemaFault &fault) : root_(schema), fault_(fault) {}

    std::optional<SchemaForm> run() {
        check_root();
        entry(root_, "$");
        for (; !queue_.empty() && fault_.reason.empty(); queue_.pop_front()) {
            const Waiting waiting = queue_.front();
            current_ = waiting.number;
            json made = make_entry(*waiting.node, waiting.path);
            definitions_[std::to_string(waiting.number)] = std::move(made);
        }
        check_cycles();
        if (!fault_.reason.empty())
            return std::nullopt;
        form_.document = {{"allOf", json::array({reference(0)})}, {"definitions", std::move(definitions_)}};
        return std::move(form_);
    }

private:
    struct Waiting {
        const json *node;
        std::string path;
        std::size_t number;
    };

    void fail(std::string path, std::string reason) {
        if (fault_.reason.empty())
            fault_ = {std::move(path), std::move(reason)};
    }

    void check_root() {
        if (!root_.is_object())
            return;
        auto found = root_.find("$schema");
        if (found != root_.end() && (!found->is_string() || without_end(found->get<std::string>(), '#') != draft7))
            fail("$.$schema", "only draft 7 is supported: " + std::string(draft7) + "#");
        auto id = root_.find("$id");
        if (id != root_.end() && id->is_string())
            id_ = without_end(id->get<std::string>(), '#');
    }

    // The entry of a subschema; it is made when its turn comes.
    std::size_t entry(const json &node, const std::string &path) {
        auto [found, is_new] = numbers_.try_emplace(&node, numbers_.size());
        if (is_new) {
            queue_.push_back({&node, path, found->second});
            in_place_.emplace_back();
            paths_.push_back(path);
            if (numbers_.size() > max_entries)
                fail(path, "more than " + std::to_string(max_entries) + " subschemas");
        }
        return found->second;
    }

    static json reference(std::size_t number) { return {{"$ref", "#/definitions/" + std::to_string(number)}}; }
    json child(const json &node, const std::string &path) { return reference(entry(node, path)); }
    // One that applies to the same value.
    json child_in_place(const json &node, const std::string &path) {
        std::size_t number = entry(node, path);
        in_place_[current_].push_back(number);
        return reference(number);
    }

    json make_entry(const json &node, const std::string &path) {
        json guard = {{guard_keyword, true}};
        if (node.is_boolean())
            return node.get<bool>() ? json::object() : json{{"not", json::object()}};
        if (!node.is_object()) {
            fail(path, "a schema must be an object or a boolean");
            return json::object();
        }
        if (auto ref = node.find("$ref"); ref != node.end()) // its siblings do not count in draft 7
            return {{"allOf", json::array({guard, follow(*ref, path_key(path, "$ref"))})}};
        if (auto id = node.find("$id"); id != node.end() && &node != &root_ && id->is_string() &&
                                        !id->get_ref<const std::string &>().starts_with('#'))
            fail(path_key(path, "$id"), "an $id inside of the schema is not supported");
        json made = {{"allOf", json::array({guard})}};
        for (const auto &[key, value] : node.items())
            keyword(made, node, key, value, path_key(path, key));
        return made;
    }

    json follow(const json &ref, const std::string &path) {
        if (!ref.is_string()) {
            fail(path, "must be a string");
            return json::object();
        }
        std::string uri = ref.get<std::string>();
        if (!id_.empty() && uri.starts_with(id_) && (uri.size() == id_.size() || uri[id_.size()] == '#'))
            uri.erase(0, id_.size());
        if (!uri.empty() && uri[0] != '#') {
            fail(path, "only references within the schema are supported (#/…): nothing is fetched");
            return json::object();
        }
        std::string found_at;
        std::string pointer = uri.empty() ? "" : percent_decoded(std::string_view(uri).substr(1));
        const json *node = resolve_pointer(root_, pointer, found_at);
        if (!node) {
            fail(path, "leads nowhere: only JSON pointers into the schema are supported (#/definitions/…)");
            return json::object();
        }
        return child_in_place(*node, found_at);
    }

    void keyword(json &made, const json &node, const std::string &key, const json &value, const std::string &path) {
        static const std::map<std::string_view,
                              void (FormMaker::*)(json &, const std::string &, const json &, const std::string &)>
            handlers = {{"type", &FormMaker::types},
                        {"enum", &FormMaker::values},
                        {"const", &FormMaker::copy},
                        {"maximum", &FormMaker::number},
                        {"minimum", &FormMaker::number},
                        {"exclusiveMaximum", &FormMaker::number},
                        {"exclusiveMinimum", &FormMaker::number},
                        {"multipleOf", &FormMaker::multiple},
                        {"maxLength", &FormMaker::count},
                        {"minLength", &FormMaker::count},
                        {"maxItems", &FormMaker::count},
                        {"minItems", &FormMaker::count},
                        {"maxProperties", &FormMaker::count},
                        {"minProperties", &FormMaker::count},
                        {"pattern", &FormMaker::pattern},
                        {"format", &FormMaker::format},
                        {"uniqueItems", &FormMaker::unique},
                        {"required", &FormMaker::names},
                        {"allOf", &FormMaker::all_in_place},
                        {"anyOf", &FormMaker::all_in_place},
                        {"oneOf", &FormMaker::all_in_place},
                        {"not", &FormMaker::one_in_place},
                        {"if", &FormMaker::one_in_place},
                        {"then", &FormMaker::one_in_place},
                        {"else", &FormMaker::one_in_place},
                        {"items", &FormMaker::items},
                        {"additionalItems", &FormMaker::one},
                        {"contains", &FormMaker::one},
                        {"propertyNames", &FormMaker::one},
                        {"additionalProperties", &FormMaker::additional_properties},
                        {"properties", &FormMaker::members},
                        {"patternProperties", &FormMaker::members},
                        {"definitions", &FormMaker::definitions},
                        {"dependencies", &FormMaker::dependencies}};
        auto found = handlers.find(key);
        if (found == handlers.end()) // unknown ones and annotations mean nothing
            return;
        if ((key == "then" || key == "else") && !node.contains("if"))
            return;
        if (key == "additionalItems" && !(node.contains("items") && node["items"].is_array()))
            return;
        (this->*found->second)(made, key, value, path);
    }

    void types(json &made, const std::string &key, const json &value, const std::string &path) {
        static constexpr std::string_view known[] = {"null",   "boolean", "object", "array",
                                                     "number", "string",  "integer"};
        json list = value.is_array() ? value : json::array({value});
        for (const json &type : list)
            if (!type.is_string() ||
                std::find(std::begin(known), std::end(known), type.get_ref<const std::string &>()) == std::end(known))
                fail(path, "must be null, boolean, object, array, number, string, integer, or an array of them");
        made[key] = list;
    }
    void values(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_array() || value.empty())
            fail(path, "must be an array with at least one value");
        copy(made, key, value, path);
    }
    void copy(json &made, const std::string &key, const json &value, const std::string &) {
        made[key] = plain_numbers(value);
    }
    void number(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!is_number(value))
            fail(path, "must be a number");
        copy(made, key, value, path);
    }
    void multiple(json &made, const std::string &, const json &value, const std::string &path) {
        if (!is_number(value) || *number_value(value) <= 0)
            fail(path, "must be a number above 0");
        copy(made, multiple_keyword, value, path);
    }
    void count(json &made, const std::string &key, const json &value, const std::string &path) {
        std::optional<std::int64_t> whole = is_number(value) ? integer_value(value) : std::nullopt;
        if (!whole || *whole < 0)
            fail(path, "must be a whole number, 0 or more");
        else
            made[key] = *whole;
    }
    void pattern(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_string())
            return fail(path, "must be a string");
        compile(value.get<std::string>(), path);
        made[key] = value;
    }
    void compile(const std::string &text, const std::string &path) {
        if (form_.patterns.contains(text))
            return;
        Result<Pattern> compiled = Pattern::compile(text);
        if (compiled)
            form_.patterns.emplace(text, std::move(*compiled.value));
        else
            fail(path, "regular expression \"" + text + "\": " + compiled.problem);
    }
    void format(json &made, const std::string &, const json &value, const std::string &path) {
        if (!value.is_string())
            fail(path, "must be a string");
        made[format_keyword] = value;
    }
    void unique(json &made, const std::string &, const json &value, const std::string &path) {
        if (!value.is_boolean())
            fail(path, "must be a boolean");
        else if (value.get<bool>())
            made[unique_keyword] = true;
    }
    void names(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_array() || !std::all_of(value.begin(), value.end(), [](const json &v) { return v.is_string(); }))
            fail(path, "must be an array of strings");
        if (!value.empty())
            made[key] = value;
    }
    void all_in_place(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_array() || value.empty())
            return fail(path, "must be an array with at least one schema");
        json &list = made[key]; // allOf has the guard in front
        for (std::size_t i = 0; i < value.size(); i++)
            list.push_back(child_in_place(value[i], path_index(path, i)));
    }
    void one_in_place(json &made, const std::string &key, const json &value, const std::string &path) {
        made[key] = child_in_place(value, path);
    }
    void one(json &made, const std::string &key, const json &value, const std::string &path) {
        made[key] = child(value, path);
    }
    void additional_properties(json &made, const std::string &key, const json &value, const std::string &path) {
        if (value.is_boolean()) // the library says which property it is
            made[key] = value;
        else
            one(made, key, value, path);
    }
    void items(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_array())
            return one(made, key, value, path);
        json &list = made[key] = json::array();
        for (std::size_t i = 0; i < value.size(); i++)
            list.push_back(child(value[i], path_index(path, i)));
    }
    void members(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_object())
            return fail(path, "must be an object of schemas");
        json &object = made[key] = json::object();
        for (const auto &[name, schema] : value.items()) {
            if (key == "patternProperties")
                compile(name, path_key(path, name));
            object[name] = child(schema, path_key(path, name));
        }
    }
    // Used by reference only, but a fault in them is one.
    void definitions(json &, const std::string &, const json &value, const std::string &path) {
        if (!value.is_object())
            return fail(path, "must be an object of schemas");
        for (const auto &[name, schema] : value.items())
            entry(schema, path_key(path, name));
    }
    void dependencies(json &made, const std::string &key, const json &value, const std::string &path) {
        if (!value.is_object())
            return fail(path, "must be an object");
        json &object = made[key] = json::object();
        for (const auto &[name, needed] : value.items()) {
            if (!needed.is_array()) {
                object[name] = child_in_place(needed, path_key(path, name));
                continue;
            }
            object[name] = json::array();
            json list;
            names(list, "names", needed, path_key(path, name));
            if (!needed.empty())
                object[name] = needed;
        }
    }

    // Entries by depth-first search without recursion: 1 on the way, 2 done.
    void check_cycles() {
        std::vector<char> state(in_place_.size(), 0);
        for (std::size_t start = 0; start < in_place_.size(); start++) {
            std::vector<std::pair<std::size_t, std::size_t>> way; // entry, next of its edges
            if (state[start] == 0)
                way.push_back({start, 0});
            while (!way.empty()) {
                auto &[at, edge] = way.back();
                state[at] = 1;
                if (edge == in_place_[at].size()) {
                    state[at] = 2;
                    way.pop_back();
                    continue;
                }
                std::size_t next = in_place_[at][edge++];
                if (state[next] == 1)
                    return fail(paths_[next], "refers to itself for the same value: it could never be checked");
                if (state[next] == 0)
                    way.push_back({next, 0});
            }
        }
    }

    const json &root_;
    SchemaFault &fault_;
    std::string id_;
    SchemaForm form_;
    json definitions_ = json::object();
    std::unordered_map<const json *, std::size_t> numbers_;
    std::deque<Waiting> queue_;
    std::size_t current_ = 0;
    std::vector<std::vector<std::size_t>> in_place_; // by entry: the entries that it applies to the same value
    std::vector<std::string> paths_;
};

} // namespace

json plain_numbers(json value) {
    if (value.is_array() || value.is_object()) {
        for (json &element : value)
            element = plain_numbers(std::move(element));
        return value;
    }
    if (!is_number(value) || value.is_number_integer())
        return value;
    double number = *number_value(value);
    if (number == std::floor(number) && std::fabs(number) < 9.2e18)
        return static_cast<std::int64_t>(number);
    return number;
}

std::optional<SchemaForm> make_schema_form(const json &schema, SchemaFault &fault) {
    fault = {};
    return FormMaker(schema, fault).run();
}

} // namespace chronicle::core
