// Checking new events against what is registered of their type.
#pragma once

#include "types/event_type.hpp"

namespace chronicle::types {

/// Why an event is refused (CH004).
struct Refusal {
    std::string path, reason;
    std::string sqlstate = {}, context = {}; // when the validator raised
};

/// What is wrong with the data of an event, or with the version that it is said to have; nothing: it may be stored.
/// `called_user` is set when a validator function ran. Its errors that a repetition may cure, or that the server
/// raises, pass unchanged.
std::optional<Refusal> validate(const EventType &type, int32 version, Datum data, bool &called_user);

} // namespace chronicle::types
