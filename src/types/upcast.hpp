// Older events as the newest version of their type: what every read applies.
#pragma once

#include "types/event_type.hpp"

namespace chronicle::types {

/// For one scan: keeps the functions that it needs, in the memory context that is current when it is made.
class Upcasts {
public:
    Upcasts() : memory_(CurrentMemoryContext), any_(any_upcasters()) {}
    /// Data of a version as the newest that the type's upcasters lead to, step by step; they stop where one is missing.
    /// Version and data are changed. The position is for the error: 42883, 42704, 22004, or what
    /// the upcaster raised, with type and version.
    void apply(std::string_view type, int64 position, int32 &version, Datum &data) {
        if (any_)
            follow(std::string(type), position, version, data);
    }

private:
    struct Step {
        Oid owner;
        std::string search_path;
        pg::UserFunction function;
    };
    void follow(const std::string &type, int64 position, int32 &version, Datum &data);
    Datum run(const OwnedFunction &upcaster, const std::string &type, int32 version, Datum data);

    MemoryContext memory_;
    const bool any_;
    std::unordered_map<std::string, Step> steps_; // by function and owner
};

/// A hash of all upcasters, their functions' texts included; 0: there are none. What was made of upcast events (a
/// snapshot) holds only while it stays the same.
int64 upcasters_fingerprint();

} // namespace chronicle::types
