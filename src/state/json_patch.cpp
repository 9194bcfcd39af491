// RFC 6902 (JSON Patch) with RFC 6901 (JSON Pointer), on a document that is changed in place.
#include "core/json.hpp"

#include "state/document.hpp"

namespace chronicle::state {

namespace {

using Kind = Node::Kind;

// One operation while it is carried out: what an error says of it.
struct Operation {
    size_t number;
    std::string name, path;

    [[noreturn]] void fail(const std::string &reason) const {
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message =
                       "JSON patch operation " + std::to_string(number) + " (" + name + " " + path + "): " + reason,
                   .detail =
                       core::json{{"operation", number}, {"op", name}, {"path", path}, {"reason", reason}}.dump()});
    }
};

[[noreturn]] void raise_no_patch(const std::string &path, const std::string &reason) {
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = "not a JSON patch: " + path + " " + reason,
               .detail = core::json{{"path", path}, {"reason", reason}}.dump(),
               .hint = "A patch is an array of operations: [{\"op\": \"add\", \"path\": \"/a\", \"value\": 1}]."});
}

using Pointer = std::vector<std::string>;

Pointer parse_pointer(const Operation &operation, std::string_view text) {
    Pointer tokens;
    if (text.empty())
        return tokens;
    if (text.front() != '/')
        operation.fail("a JSON pointer is empty or begins with \"/\"");
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] == '/') {
            tokens.emplace_back();
        } else if (text[i] != '~') {
            tokens.back() += text[i];
        } else {
            i++;
            if (i == text.size() || (text[i] != '0' && text[i] != '1'))
                operation.fail("\"~\" stands for itself only as \"~0\"; \"~1\" is \"/\"");
            tokens.back() += text[i] == '0' ? '~' : '/';
        }
    }
    return tokens;
}

// An index up to `limit`; "-" is the end.
size_t parse_index(const Operation &operation, const std::string &token, size_t end, size_t limit) {
    bool digits =
        !token.empty() && std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (token == "-" && limit == end)
        return end;
    if (!digits || (token.size() > 1 && token.front() == '0'))
        operation.fail("\"" + token + "\" is no index of an array");
    size_t index = token.size() > 9 ? SIZE_MAX : std::stoul(token);
    if (index > limit || limit == SIZE_MAX)
        operation.fail("index " + token + " is outside the array, which has " + std::to_string(end) + " elements");
    return index;
}

size_t existing_index(const Operation &operation, const std::string &token, const Array &array) {
    return parse_index(operation, token, array.size(), array.size() - 1); // of an empty one: SIZE_MAX
}

Node &step(const Operation &operation, Node &node, const std::string &token) {
    if (node.kind == Kind::array)
        return *(*node.array)[existing_index(operation, token, *node.array)];
    if (node.kind != Kind::object)
        operation.fail("\"" + token + "\" is looked for in a value that is neither object nor array");
    auto found = node.object->find(token);
    if (found == node.object->end())
        operation.fail("there is no member \"" + token + "\"");
    return *found->second;
}

// The value at the first `depth` tokens.
Node &find(const Operation &operation, Document &document, const Pointer &pointer, size_t depth) {
    Node *node = &document.root();
    for (size_t i = 0; i < depth; i++)
        node = &step(operation, *node, pointer[i]);
    return *node;
}

void add(const Operation &operation, Document &document, const Pointer &pointer, Node *value) {
    if (pointer.empty()) {
        document.root() = *value;
        return;
    }
    Node &parent = find(operation, document, pointer, pointer.size() - 1);
    const std::string &last = pointer.back();
    if (parent.kind == Kind::array) {
        size_t size = parent.array->size();
        size_t index = parse_index(operation, last, size, size);
        parent.array->insert(parent.array->begin() + static_cast<std::ptrdiff_t>(index), value);
    } else if (parent.kind == Kind::object) {
        document.member(parent, last) = value;
    } else {
        operation.fail("the parent is neither object nor array");
    }
}

// Takes a value out; of the whole document null remains.
Node *take(const Operation &operation, Document &document, const Pointer &pointer) {
    if (pointer.empty()) {
        Node *whole = document.make();
        *whole = document.root();
        document.root() = Node{};
        return whole;
    }
    Node &parent = find(operation, document, pointer, pointer.size() - 1);
    Node *taken = &step(operation, parent, pointer.back());
    if (parent.kind == Kind::array)
        parent.array->erase(parent.array->begin() +
                            static_cast<std::ptrdiff_t>(existing_index(operation, pointer.back(), *parent.array)));
    else
        parent.object->erase(pointer.back());
    return taken;
}

bool inside(const Pointer &inner, const Pointer &outer) {
    return inner.size() > outer.size() && std::equal(outer.begin(), outer.end(), inner.begin());
}

void apply(Document &document, const Operation &operation, const Node &members) {
    auto text = [&](const char *key) {
        auto found = members.object->find(key);
        if (found == members.object->end() || found->second->kind != Kind::string)
            operation.fail(std::string("\"") + key + "\" must be a string");
        return std::string(found->second->bytes);
    };
    auto value = [&]() {
        auto found = members.object->find("value");
        if (found == members.object->end())
            operation.fail("\"value\" is missing");
        return found->second;
    };
    Pointer path = parse_pointer(operation, text("path"));
    if (operation.name == "add") {
        add(operation, document, path, value());
    } else if (operation.name == "remove") {
        (void)take(operation, document, path);
    } else if (operation.name == "replace") {
        find(operation, document, path, path.size()) = *value();
    } else if (operation.name == "test") {
        if (!equal(find(operation, document, path, path.size()), *value()))
            operation.fail("the test failed: the value there is another");
    } else if (operation.name == "copy") {
        Pointer from = parse_pointer(operation, text("from"));
        add(operation, document, path, document.copy(find(operation, document, from, from.size())));
    } else if (operation.name == "move") {
        Pointer from = parse_pointer(operation, text("from"));
        if (inside(path, from))
            operation.fail("a value cannot be moved into itself");
        add(operation, document, path, take(operation, document, from));
    } else {
        operation.fail("unknown operation");
    }
}

std::string text_or_empty(const Object &object, const char *key) {
    auto found = object.find(key);
    return found != object.end() && found->second->kind == Kind::string ? std::string(found->second->bytes) : "";
}

} // namespace

void Document::patch(const Jsonb *operations) {
    if (!JB_ROOT_IS_ARRAY(operations) || JB_ROOT_IS_SCALAR(operations))
        raise_no_patch("$", "must be an array");
    Node *list = read(&operations->root);
    may_copy_ = max_copied;
    for (size_t i = 0; i < list->array->size(); i++) {
        pg::check_interrupts();
        const Node &members = *(*list->array)[i];
        if (members.kind != Kind::object)
            raise_no_patch(core::path_index("$", i), "must be an object");
        Operation operation{i, text_or_empty(*members.object, "op"), text_or_empty(*members.object, "path")};
        apply(*this, operation, members);
    }
    may_copy_ = SIZE_MAX;
    compact_when_wasteful();
}

} // namespace chronicle::state
