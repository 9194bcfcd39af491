// Appending events to one stream.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::store {

struct NewEvent {
    std::string type;
    Datum data; // jsonb
    Datum metadata; // jsonb
    std::optional<pg::Uuid> id;
};

/// Appends to a user's stream as the current session; returns the version of the event (contract, section 2).
int64 append(const std::string &stream, const NewEvent &event, std::optional<int64> expected_version);

} // namespace chronicle::store
