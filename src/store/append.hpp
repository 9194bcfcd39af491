// Appending events. The steps and locks are told in append.cpp.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::store {

struct NewEvent {
    std::string type;
    Datum data; // jsonb
    Datum metadata; // jsonb
    std::optional<pg::Uuid> id;
};

/// What is to be appended to one stream. Without events: the check alone.
struct Append {
    std::string stream;
    std::optional<int64> expected_version;
    std::vector<NewEvent> events;
};

/// Versions given; for a retry those that were given at first. first 0: nothing was to be appended.
struct Appended {
    int64 first = 0, last = 0;
};

/// Appends to users' streams as the current session (contract, section 2): all of it, or an error that names every
/// check that failed. Each stream may stand once in a call.
std::vector<Appended> append(const std::vector<Append> &appends);

/// The first step of append(): raises what is wrong with the call itself.
void check_call(const std::vector<Append> &appends);

/// A JSON array of events as append_events takes it. 22023 with the path (below `path`) of what is wrong.
std::vector<NewEvent> parse_events(Datum array, const std::string &path);

/// Hides what is in a stream; with `tombstone` for ever. Returns its last version. The caller has checked the rights.
int64 delete_stream(const std::string &stream, std::optional<int64> expected_version, bool tombstone);

} // namespace chronicle::store
