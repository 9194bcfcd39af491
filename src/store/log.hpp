// Reading the whole log in order: users' events and, for those who ask, the events of runs.
#pragma once

#include "store/event_row.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace chronicle::store {

/// What a reader of the log wants. Empty optionals do not filter.
struct LogQuery {
    std::optional<int64> after = {}; // backwards: below it
    int64 count = 1000;
    std::optional<std::vector<std::string>> categories = {}, types = {};
    std::optional<std::vector<std::string>> streams = {}; // beside the other filters
    std::optional<std::string> stream_regex = {}, type_regex = {};
    std::optional<TimestampTz> since = {}, until = {};
    std::optional<Datum> filter = {}; // a jsonpath over the event object
    bool backwards = false;
    bool include_system = false;
    bool as_stored = false; // no upcasters: for those who only count
    int group_size = 0, group_member = 0; // consumer group by stream name; size 0: none
    struct LogScan *scan = nullptr; // who wants to know how far it got, or to limit that
};

/// How far a scan got, whatever matched.
struct LogScan {
    int64 limit = PG_INT64_MAX; // rows to look at
    int64 rows = 0; // looked at
    int64 position = 0; // of the last one
};

/// The events that match, in order, up to the mark of the snapshot. `mark` keeps it: a scan that is repeated with the
/// same snapshot gives it back, and sees the same log.
std::unique_ptr<EventSource> open_log(LogQuery query, Snapshot snapshot, std::optional<int64> &mark);

} // namespace chronicle::store
