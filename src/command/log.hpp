// The log of commands: what was asked, and how it was answered. A command id that is there already is answered from it.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::command {

struct Command {
    std::string stream, name;
    Datum payload; // jsonb
    std::optional<pg::Uuid> id;
    Datum metadata; // jsonb, an object
};

/// How a command was answered. Without events both versions are those of the stream as it was.
struct Answer {
    bool accepted = false;
    int64 first_version = 0; // 0: no event was appended
    int64 version = 0; // of the stream: after an accepted command, or as it was when it was rejected
    std::string reason;
};

/// The first answer to this command id, in this transaction or a committed one. CH033 when the input was another. The
/// caller holds the stream's lock.
std::optional<Answer> find_answer(const Command &command);

/// Writes a row; the transaction decides whether it stays. CH033 when the id was given to another stream meanwhile.
void record(const Command &command, const Answer &answer);

/// For a rejection that is about to be raised as an error: its savepoint will be undone, so the row is written when the
/// transaction commits (then the error was caught).
void record_at_commit(const Command &command, const Answer &answer);

} // namespace chronicle::command
