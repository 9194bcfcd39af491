// What happens in the appender's transaction: statement triggers AFTER INSERT on chronicle_data.event (\d shows them)
// that act on what one call of an append function stored.
//
// append() inserts rows directly, which fires no trigger by itself. It fires them, through PostgreSQL's trigger
// manager, when a watcher says that what was stored is of interest; other appends pay one call per watcher. A trigger
// function asks current_append() what was stored; there is no answer when something else inserted (a restore), and then
// it does nothing. Triggers may append in their turn: each call has its own answer.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::store {

/// What one call stored in one stream. The texts live until the triggers have run.
struct StoredBatch {
    std::string_view stream, category;
    int64 stream_id;
    int64 first_version, last_version;
    int64 first_position, last_position; // other transactions' positions may lie between
};

/// True when there is something to do for these events. Called in each append: it must be cheap (a lookup of the
/// category in a map that a CachedTable keeps true) and may raise.
using Watcher = bool (*)(const StoredBatch &batch);
/// For _PG_init.
void add_watcher(Watcher watcher);

/// What the append that fired this trigger has stored; nullptr: no append function is at work. (A trigger function ends
/// with PG_RETURN_POINTER(nullptr): PG_RETURN_NULL() is an error to the trigger manager.)
const std::vector<StoredBatch> *current_append();

/// Fires the triggers if any watcher wants them. For append.cpp.
void fire_append_triggers(const std::vector<StoredBatch> &batches);

} // namespace chronicle::store
