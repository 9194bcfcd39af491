// What is hidden of a stream: the one answer that every reader, view and the scavenger take. Told in retention.cpp.
#pragma once

#include "store/stream.hpp"

#include <map>

namespace chronicle::store {

/// Versions up to the result are hidden from a reader with this snapshot: deleted, removed, or outside of what the
/// stream's retention, or its category's, keeps.
int64 hidden_versions(const Stream &stream, std::string_view category, Snapshot snapshot);

/// The same for many streams: what categories keep is looked up once.
class HiddenVersions {
public:
    explicit HiddenVersions(Snapshot snapshot) : snapshot_(snapshot) {}
    int64 of(const Stream &stream, std::string_view category);

private:
    Snapshot snapshot_;
    std::map<std::string, Retention, std::less<>> categories_;
};

/// The same for the caller of an SQL function, which a view calls for each row; nothing: there is no such stream, or
/// the caller may not read it. Cheap: the call keeps the answers (in its fn_extra).
std::optional<int64> hidden_from_caller(FunctionCallInfo fcinfo, int64 stream_id);

/// The last number of a stream among the rows that the snapshot sees; 0: it has no row (any more).
int64 last_visible_version(int64 stream_id, Snapshot snapshot);

/// The time that ages are counted from: of the statement, or of the transaction where it has one snapshot for all.
TimestampTz retention_now();

/// Events recorded before it are older than `max_age`. In UTC: it does not depend on anybody's time zone.
TimestampTz age_cutoff(const Interval &max_age);

} // namespace chronicle::store
