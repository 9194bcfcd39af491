// Kinds of events: pairs of category and type, as numbers in the event rows.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::store {

struct Kind {
    std::string category, type;
};

/// The number of a kind; makes one when it is new. Two transactions that meet a new kind at the same time may make two
/// numbers of it: neither waits for the other, and readers take all numbers of a kind.
int32 find_or_make_kind(std::string_view category, std::string_view type);

/// What a number means. Valid until the next call.
const Kind &kind_of(int32 kind_id);

} // namespace chronicle::store
