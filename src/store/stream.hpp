// Streams: names, ids, locks, and the last number given.
#pragma once

#include "pg/relation.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "utils/snapshot.h"
}

namespace chronicle::store {

/// Takes the streams' locks until the end of the transaction, in the order of their keys: from here on their last
/// numbers are ours to read and raise. 54000 over chronicle.max_streams_per_transaction.
void lock_streams_sorted(const std::vector<std::string_view> &streams);

/// What to keep. Empty: no limit.
struct Retention {
    std::optional<int64> max_count;
    std::optional<Interval> max_age;
    std::optional<int64> truncate_before;
    bool any() const { return max_count || max_age || truncate_before; }
};

struct Stream {
    int64 id = 0;
    int64 hidden = 0; // versions up to it are deleted; what readers see: hidden_versions() in retention.hpp
    bool tombstoned = false;
    int64 removed = 0; // versions up to it have no rows any more
    Retention retention = {}; // its own
};

/// A stream as the snapshot sees it (SnapshotSelf: the newest committed state and our own changes); nothing when it was
/// never written.
std::optional<Stream> find_stream(std::string_view stream, Snapshot snapshot);
/// The same for a reader: a stream that another session made after the snapshot holds events of our own at most, and
/// nothing of it is hidden to us.
std::optional<Stream> find_visible_stream(std::string_view stream, Snapshot snapshot);
/// The same by its id; `name` may be nullptr.
std::optional<Stream> find_stream_by_id(int64 id, Snapshot snapshot, std::string *name);

/// The same for many streams of one snapshot, in one scan: rows that this process has seen before are looked for where
/// they were.
class StreamFinder {
public:
    explicit StreamFinder(Snapshot snapshot);
    std::optional<Stream> find(int64 id, std::string *name);

private:
    Snapshot snapshot_;
    pg::PlaceReader place_;
    pg::IndexReader index_;
};
/// CH002 for a stream that is tombstoned.
[[noreturn]] void raise_tombstoned(const std::vector<std::string> &streams);
void check_not_tombstoned(const std::string &name, const std::optional<Stream> &stream);
/// The newest committed state and our own changes, faster for streams that this process has seen before. The caller
/// holds its lock.
std::optional<Stream> find_newest_stream(const std::string &stream);
/// Its id alone, when this process has seen it before.
std::optional<int64> known_stream_id(const std::string &stream);
/// Makes a stream that is not there. The caller holds its lock.
Stream make_stream(std::string_view stream);
/// Hides its versions up to `hidden`, for ever when `tombstone`. The caller holds its lock.
void hide_stream(const Stream &stream, int64 hidden, bool tombstone);
/// Whoever keeps something of events forgets what is deleted of a stream, in that transaction. For _PG_init.
using AfterHiding = void (*)(int64 stream_id, int64 hidden);
void add_after_hiding(AfterHiding hook);

/// 40001: an UPDATE of a stream that was found by the newest state did not find it by the transaction's snapshot.
[[noreturn]] void raise_made_since_snapshot();

/// The last number given in a stream (0: none), by the newest committed state and our own changes.
int64 last_version(int64 stream_id);

} // namespace chronicle::store
