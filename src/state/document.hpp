// A JSON document that is changed in place: what apply_merge_patch and apply_json_patch work on.
//
// A fold over many patches keeps its state in one of these and makes jsonb of it at the end, instead of once per event.
// Numbers keep PostgreSQL's numeric form and are never looked into, so nothing is rounded. Everything lies in an arena;
// what patches replaced stays there until it outweighs the document, which is then copied into a new one: memory
// follows the size of the document, not of the history.
#pragma once

#include <memory_resource>

#include "pg/datum.hpp"

namespace chronicle::state {

struct Node;
/// Keys of an object; the views point into the arena.
using Object = std::pmr::unordered_map<std::string_view, Node *>;
using Array = std::pmr::vector<Node *>;

/// One JSON value. A number's bytes are its numeric varlena.
struct Node {
    enum class Kind : uint8 { null, boolean, number, string, array, object } kind = Kind::null;
    bool boolean = false;
    std::string_view bytes = {};
    Array *array = nullptr;
    Object *object = nullptr;
};

class Document {
public:
    /// Bytes that the copies of one patch may take: a few operations could double a document again and again.
    static constexpr size_t max_copied = 64 * 1024 * 1024;
    Document() = default;
    Document(const Document &) = delete;
    Document &operator=(const Document &) = delete;

    /// From jsonb (plain: not toasted), replacing what was there.
    void load(const Jsonb *jsonb);
    /// {}
    void clear();
    /// As jsonb in the current memory context.
    Datum store() const;

    /// RFC 7396.
    void merge(const Jsonb *patch);
    /// RFC 6902: an array of operations. 22023 for what is no patch, or does not fit; 54000 when its copies take too
    /// much; the document is then half changed, and of no use.
    void patch(const Jsonb *operations);

    // What patch() is made of.
    Node &root() { return *root_; }
    Node *make();
    Node *copy(const Node &node); // in patch(): of what it may copy
    Node *read(const JsonbContainer *container);
    /// The entry of a key, made when it is absent.
    Node *&member(Node &object, std::string_view key);

private:
    // Counts what the arena takes from the system.
    class Counted : public std::pmr::memory_resource {
    public:
        size_t bytes = 0;

    private:
        void *do_allocate(size_t size, size_t alignment) override;
        void do_deallocate(void *memory, size_t size, size_t alignment) override;
        bool do_is_equal(const memory_resource &other) const noexcept override { return this == &other; }
    };
    struct Arena {
        Counted system;
        std::pmr::monotonic_buffer_resource memory{4096, &system};
    };

    std::string_view keep(std::string_view bytes);
    void set_bytes(Node &node, Node::Kind kind, std::string_view bytes);
    void make_object(Node &node, size_t expected);
    void set(Node &node, JEntry entry, const char *data, uint32 length);
    void read_into(Node &node, const JsonbContainer *container);
    void merge_into(Node &target, const JsonbContainer *patch);
    void compact_when_wasteful();
    void spend(size_t bytes);

    std::unique_ptr<Arena> arena_ = std::make_unique<Arena>();
    size_t compact_above_ = 8 * 1024 * 1024;
    size_t may_copy_ = SIZE_MAX; // bytes
    Node *root_ = make();
};

/// RFC 6902, section 4.6: the same type and value; numbers by value, members in any order.
bool equal(const Node &a, const Node &b);

} // namespace chronicle::state
