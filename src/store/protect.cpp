// Events are for ever: a statement trigger refuses UPDATE, DELETE and TRUNCATE for every role, also the owner. What
// chronicle itself removes goes by direct access, which fires no trigger (expired runs), or by a DELETE of its own in a
// RemovalScope (the scavenger), which no SQL can open.
#include "store/protect.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace chronicle::store {

static int removals = 0;

RemovalScope::RemovalScope() { removals++; }
RemovalScope::~RemovalScope() { removals--; }

CHRONICLE_FUNCTION(chronicle_refuse_change) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        pg::raise(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                  {.message = "chronicle_refuse_change is a trigger function"});
    TriggerEvent event = reinterpret_cast<TriggerData *>(fcinfo->context)->tg_event;
    if (removals > 0 && TRIGGER_FIRED_BY_DELETE(event))
        PG_RETURN_POINTER(nullptr);
    if (TRIGGER_FIRED_BY_INSERT(event))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be inserted through the view",
                                                   .hint = "Use append_event, append_events or append_streams."});
    pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be updated, deleted or truncated",
                                               .hint = "Append an event that corrects what was wrong."});
}

} // namespace chronicle::store
