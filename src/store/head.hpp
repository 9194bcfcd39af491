// The heads of streams in shared memory. Told in head.cpp.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::store {

/// What an append has to know of a stream that is not tombstoned.
struct Head {
    int64 stream_id;
    int64 version; // the last number given
    int64 hidden; // versions up to it are deleted
};

size_t heads_shared_size();
void init_heads_shared();

/// The newest committed state of a stream and what this transaction did to it; nothing when nobody remembers it, and
/// the tables must be asked. The caller holds the stream's lock.
std::optional<Head> find_head(int64 stream_id);
/// Before a stream's number or what is hidden of it changes. The caller holds the stream's lock.
void forget_head(int64 stream_id);
/// What the stream is to be remembered by when the transaction commits; after forget_head().
void remember_head(const Head &head);

} // namespace chronicle::store
