// Events are for ever: a statement trigger refuses UPDATE, DELETE and TRUNCATE for every role, also the owner. What
// chronicle itself removes (expired runs, later scavenged events) goes by direct access, which fires no trigger.
#include "pg/guard.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace chronicle::store {

CHRONICLE_FUNCTION(chronicle_refuse_change) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        pg::raise(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                  {.message = "chronicle_refuse_change is a trigger function"});
    if (TRIGGER_FIRED_BY_INSERT(reinterpret_cast<TriggerData *>(fcinfo->context)->tg_event))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be inserted through the view",
                                                   .hint = "Use append_event, append_events or append_streams."});
    pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be updated, deleted or truncated",
                                               .hint = "Append an event that corrects what was wrong."});
}

} // namespace chronicle::store
