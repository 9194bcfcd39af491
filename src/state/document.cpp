// jsonb is read by its own layout (utils/jsonb.h): a container is a header, the entries of its children, and their
// bytes; an object has the keys' entries first, then the values'. An entry holds its length, or now and then the end of
// its bytes; numbers and containers are aligned to four bytes.
#include "state/document.hpp"

#include "pg/memory.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
}

namespace chronicle::state {

namespace {

// No patch copies into a document that takes more than this. (jsonb ends at a quarter of it.)
constexpr size_t max_document = 1024 * 1024 * 1024;

// Deep documents are walked by recursion, and large ones for long.
void check_stack() {
    if (InterruptPending)
        pg::check_interrupts();
    if (stack_is_too_deep())
        pg::raise(ERRCODE_STATEMENT_TOO_COMPLEX,
                  {.message = "JSON document is nested too deep", .hint = "Raise max_stack_depth, or nest less."});
}

// Steps through the entries of one container in order, keeping the offset of the current one.
class Children {
public:
    Children(const JsonbContainer *container, int first)
        : container_(container), index_(first), offset_(getJsonbOffset(container, first)) {}
    JEntry entry() const { return container_->children[index_]; }
    uint32 offset() const { return offset_; }
    uint32 length() const { return after() - offset_; }
    void next() {
        offset_ = after();
        index_++;
    }

private:
    uint32 after() const {
        uint32 field = JBE_OFFLENFLD(entry());
        return JBE_HAS_OFF(entry()) ? field : offset_ + field;
    }
    const JsonbContainer *container_;
    int index_;
    uint32 offset_;
};

// Where the bytes of the children begin, behind so many entries.
const char *children_data(const JsonbContainer *container, uint32 entries) {
    return reinterpret_cast<const char *>(&container->children[entries]);
}

// Calls visit(key, entry, data, length) for each member of an object.
template <typename Visit> void for_each_member(const JsonbContainer *object, Visit &&visit) {
    int count = static_cast<int>(JsonContainerSize(object));
    if (count == 0)
        return;
    const char *data = children_data(object, static_cast<uint32>(count) * 2);
    Children keys(object, 0), values(object, count);
    for (int i = 0; i < count; i++, keys.next(), values.next()) {
        uint32 aligned = JBE_ISNUMERIC(values.entry()) || JBE_ISCONTAINER(values.entry())
                             ? static_cast<uint32>(INTALIGN(values.offset()))
                             : values.offset();
        visit(std::string_view(data + keys.offset(), keys.length()), values.entry(), data + aligned,
              values.length() - (aligned - values.offset()));
    }
}

const JsonbContainer *as_container(const char *data) { return reinterpret_cast<const JsonbContainer *>(data); }

} // namespace

void *Document::Counted::do_allocate(size_t size, size_t alignment) {
    void *memory = std::pmr::new_delete_resource()->allocate(size, alignment);
    bytes += size;
    return memory;
}

void Document::Counted::do_deallocate(void *memory, size_t size, size_t alignment) {
    std::pmr::new_delete_resource()->deallocate(memory, size, alignment);
    bytes -= size;
}

Node *Document::make() { return std::pmr::polymorphic_allocator<>(&arena_->memory).new_object<Node>(); }

std::string_view Document::keep(std::string_view bytes) {
    if (bytes.empty())
        return "";
    char *copy = static_cast<char *>(arena_->memory.allocate(bytes.size(), alignof(int32)));
    memcpy(copy, bytes.data(), bytes.size());
    return {copy, bytes.size()};
}

// A counter that changes with every event takes its old place.
void Document::set_bytes(Node &node, Node::Kind kind, std::string_view bytes) {
    bool fits = !bytes.empty() && (node.kind == Node::Kind::string || node.kind == Node::Kind::number) &&
                node.bytes.size() >= bytes.size();
    if (fits) {
        memmove(const_cast<char *>(node.bytes.data()), bytes.data(), bytes.size());
        node.bytes = {node.bytes.data(), bytes.size()};
    } else {
        node.bytes = keep(bytes);
    }
    node.kind = kind;
}

void Document::make_object(Node &node, size_t expected) {
    node.kind = Node::Kind::object;
    node.object = std::pmr::polymorphic_allocator<>(&arena_->memory).new_object<Object>();
    node.object->reserve(expected);
}

Node *&Document::member(Node &object, std::string_view key) {
    auto found = object.object->find(key);
    return found != object.object->end() ? found->second : object.object->emplace(keep(key), nullptr).first->second;
}

// A value as its entry and bytes tell it.
void Document::set(Node &node, JEntry entry, const char *data, uint32 length) {
    if (JBE_ISSTRING(entry)) {
        set_bytes(node, Node::Kind::string, {data, length});
    } else if (JBE_ISNUMERIC(entry)) {
        set_bytes(node, Node::Kind::number, {data, VARSIZE_ANY(data)});
    } else if (JBE_ISBOOL(entry)) {
        node.kind = Node::Kind::boolean;
        node.boolean = JBE_ISBOOL_TRUE(entry);
    } else if (JBE_ISNULL(entry)) {
        node.kind = Node::Kind::null;
    } else {
        read_into(node, as_container(data));
    }
}

void Document::read_into(Node &node, const JsonbContainer *container) {
    check_stack();
    if (JsonContainerIsObject(container)) {
        make_object(node, JsonContainerSize(container));
        for_each_member(container, [&](std::string_view key, JEntry entry, const char *data, uint32 length) {
            Node *child = make();
            set(*child, entry, data, length);
            node.object->emplace(keep(key), child);
        });
        return;
    }
    uint32 count = JsonContainerSize(container);
    Array *array = std::pmr::polymorphic_allocator<>(&arena_->memory).new_object<Array>();
    array->reserve(count);
    const char *data = children_data(container, count);
    Children elements(container, 0);
    for (uint32 i = 0; i < count; i++, elements.next()) {
        uint32 offset = elements.offset();
        if (JBE_ISNUMERIC(elements.entry()) || JBE_ISCONTAINER(elements.entry()))
            offset = static_cast<uint32>(INTALIGN(offset));
        Node *child = make();
        set(*child, elements.entry(), data + offset, elements.length() - (offset - elements.offset()));
        array->push_back(child);
    }
    node.kind = Node::Kind::array;
    node.array = array;
}

// jsonb keeps a scalar as an array of one element that is marked so.
Node *Document::read(const JsonbContainer *container) {
    Node *node = make();
    read_into(*node, container);
    return JsonContainerIsScalar(container) ? node->array->front() : node;
}

void Document::load(const Jsonb *jsonb) {
    arena_ = std::make_unique<Arena>();
    root_ = read(&jsonb->root);
}

void Document::clear() {
    arena_ = std::make_unique<Arena>();
    root_ = make();
    make_object(*root_, 0);
}

void Document::spend(size_t bytes) {
    if (may_copy_ == SIZE_MAX)
        return;
    if (bytes > may_copy_ || arena_->system.bytes > max_document)
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = "the \"copy\" operations of a JSON patch make too much",
                                                   .detail = "{\"limit\": " + std::to_string(max_copied) + "}",
                                                   .hint = "Copy less, or with several events."});
    may_copy_ -= bytes;
}

Node *Document::copy(const Node &node) {
    check_stack();
    spend(sizeof(Node) + node.bytes.size());
    Node *copied = make();
    *copied = node;
    copied->bytes = {};
    if (node.kind == Node::Kind::string || node.kind == Node::Kind::number) {
        copied->bytes = keep(node.bytes);
    } else if (node.kind == Node::Kind::array) {
        copied->array = std::pmr::polymorphic_allocator<>(&arena_->memory).new_object<Array>();
        copied->array->reserve(node.array->size());
        for (const Node *child : *node.array)
            copied->array->push_back(copy(*child));
    } else if (node.kind == Node::Kind::object) {
        make_object(*copied, node.object->size());
        for (const auto &[key, child] : *node.object) {
            spend(sizeof(Object::value_type) + key.size());
            copied->object->emplace(keep(key), copy(*child));
        }
    }
    return copied;
}

void Document::compact_when_wasteful() {
    if (arena_->system.bytes < compact_above_)
        return;
    std::unique_ptr<Arena> old = std::exchange(arena_, std::make_unique<Arena>());
    root_ = copy(*root_);
    compact_above_ = std::max(compact_above_, arena_->system.bytes * 4);
}

// --- RFC 7396 ---

void Document::merge_into(Node &target, const JsonbContainer *patch) {
    check_stack();
    if (target.kind != Node::Kind::object)
        make_object(target, JsonContainerSize(patch));
    for_each_member(patch, [&](std::string_view key, JEntry entry, const char *data, uint32 length) {
        if (JBE_ISNULL(entry)) {
            target.object->erase(key);
            return;
        }
        Node *&slot = member(target, key);
        if (!slot)
            slot = make();
        if (JBE_ISCONTAINER(entry) && JsonContainerIsObject(as_container(data)))
            merge_into(*slot, as_container(data));
        else
            set(*slot, entry, data, length);
    });
}

void Document::merge(const Jsonb *patch) {
    if (JB_ROOT_IS_OBJECT(patch))
        merge_into(*root_, &patch->root);
    else
        root_ = read(&patch->root);
    compact_when_wasteful();
}

// --- jsonb ---

namespace {

// An array for so many children.
void *allocate(size_t count, size_t size) {
    if (count > std::min<size_t>(MaxAllocSize / size, JB_CMASK))
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED, {.message = "JSON document has too many members for jsonb"});
    return pg::call([&]() noexcept { return palloc(std::max<size_t>(count, 1) * size); });
}

// jsonb's order of keys: the shorter first.
bool key_before(const JsonbPair &a, const JsonbPair &b) {
    const auto &x = a.key.val.string, &y = b.key.val.string;
    return x.len != y.len ? x.len < y.len : memcmp(x.val, y.val, static_cast<size_t>(x.len)) < 0;
}

JsonbValue string_value(std::string_view bytes) {
    JsonbValue value;
    value.type = jbvString;
    value.val.string.val = const_cast<char *>(bytes.data());
    value.val.string.len = static_cast<int>(bytes.size());
    return value;
}

JsonbValue value_of(const Node &node);

JsonbValue object_value(const Object &object) {
    JsonbPair *pairs = static_cast<JsonbPair *>(allocate(object.size(), sizeof(JsonbPair)));
    JsonbPair *end = pairs;
    for (const auto &[key, child] : object) {
        end->key = string_value(key);
        end->value = value_of(*child);
        end->order = 0;
        end++;
    }
    std::sort(pairs, end, key_before);
    JsonbValue value;
    value.type = jbvObject;
    value.val.object.nPairs = static_cast<int>(object.size());
    value.val.object.pairs = pairs;
    return value;
}

JsonbValue array_value(const Array &array) {
    JsonbValue *elements = static_cast<JsonbValue *>(allocate(array.size(), sizeof(JsonbValue)));
    JsonbValue *end = elements;
    for (const Node *child : array)
        *end++ = value_of(*child);
    JsonbValue value;
    value.type = jbvArray;
    value.val.array.nElems = static_cast<int>(array.size());
    value.val.array.elems = elements;
    value.val.array.rawScalar = false;
    return value;
}

JsonbValue value_of(const Node &node) {
    check_stack();
    JsonbValue value;
    value.type = jbvNull;
    switch (node.kind) {
    case Node::Kind::null:
        break;
    case Node::Kind::boolean:
        value.type = jbvBool;
        value.val.boolean = node.boolean;
        break;
    case Node::Kind::number:
        value.type = jbvNumeric;
        value.val.numeric = reinterpret_cast<Numeric>(const_cast<char *>(node.bytes.data()));
        break;
    case Node::Kind::string:
        return string_value(node.bytes);
    case Node::Kind::array:
        return array_value(*node.array);
    case Node::Kind::object:
        return object_value(*node.object);
    }
    return value;
}

bool equal_numbers(const Node &a, const Node &b) {
    auto datum = [](const Node &n) { return PointerGetDatum(n.bytes.data()); };
    return pg::call([&]() noexcept { return DatumGetBool(DirectFunctionCall2(numeric_eq, datum(a), datum(b))); });
}

} // namespace

Datum Document::store() const {
    pg::MemoryScope scratch("chronicle JSON document");
    JsonbValue root = value_of(*root_);
    return pg::call([&]() noexcept {
        Jsonb *made = JsonbValueToJsonb(&root);
        return PointerGetDatum(memcpy(MemoryContextAlloc(scratch.outer(), VARSIZE(made)), made, VARSIZE(made)));
    });
}

bool equal(const Node &a, const Node &b) {
    check_stack();
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case Node::Kind::null:
        return true;
    case Node::Kind::boolean:
        return a.boolean == b.boolean;
    case Node::Kind::number:
        return equal_numbers(a, b);
    case Node::Kind::string:
        return a.bytes == b.bytes;
    case Node::Kind::array:
        return std::equal(a.array->begin(), a.array->end(), b.array->begin(), b.array->end(),
                          [](const Node *x, const Node *y) { return equal(*x, *y); });
    case Node::Kind::object:
        return a.object->size() == b.object->size() &&
               std::all_of(a.object->begin(), a.object->end(), [&](const auto &member) {
                   auto found = b.object->find(member.first);
                   return found != b.object->end() && equal(*member.second, *found->second);
               });
    }
    return false;
}

} // namespace chronicle::state
