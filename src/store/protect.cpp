// Events are for ever: a statement trigger refuses UPDATE, DELETE and TRUNCATE for every role, also the owner, and also
// where session_replication_role is replica. What chronicle itself removes goes by direct access, which fires no
// trigger (expired runs), or by a DELETE of its own in a RemovalScope (the scavenger), which no SQL can open. Views
// that SQL could change by itself have the trigger as well.
#include "store/protect.hpp"

extern "C" {
#include "commands/trigger.h"
#include "utils/rel.h"
}

namespace chronicle::store {

static int removals = 0;

RemovalScope::RemovalScope() { removals++; }
RemovalScope::~RemovalScope() { removals--; }

CHRONICLE_FUNCTION(chronicle_refuse_change) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        pg::raise(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                  {.message = "chronicle_refuse_change is a trigger function"});
    const TriggerData *trigger = reinterpret_cast<TriggerData *>(fcinfo->context);
    TriggerEvent event = trigger->tg_event;
    if (removals > 0 && TRIGGER_FIRED_BY_DELETE(event))
        PG_RETURN_POINTER(nullptr);
    if (trigger->tg_trigger->tgnargs > 0) // a view of something else, which says what changes it
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message =
                       "view \"" + std::string(NameStr(trigger->tg_relation->rd_rel->relname)) + "\" cannot be changed",
                   .hint = trigger->tg_trigger->tgargs[0]});
    if (TRIGGER_FIRED_BY_INSERT(event))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be inserted through the view",
                                                   .hint = "Use append_event, append_events or append_streams."});
    pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "events cannot be updated, deleted or truncated",
                                               .hint = "Append an event that corrects what was wrong."});
}

} // namespace chronicle::store
