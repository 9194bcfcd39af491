// rebuild_projection and cancel_rebuild.
#include "projection/manage.hpp"
#include "projection/rebuild.hpp"
#include "projection/rebuild_progress.hpp"
#include "projection/recompute.hpp"

#include "access/access.hpp"
#include "worker/registry.hpp"

namespace chronicle::projection {

namespace {

[[noreturn]] void refuse(const std::string &message, const std::string &hint) {
    pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, {.message = message, .hint = hint});
}

ProjectionPointer lock_by_name(const pg::Arguments &arguments) {
    ProjectionPointer p = require_projection(arguments.required_text(0, "name"));
    require_owner(*p);
    lock_rebuild(p->id);
    return p;
}

} // namespace

CHRONICLE_FUNCTION(chronicle_rebuild_projection) {
    ProjectionPointer p = lock_by_name(pg::Arguments(fcinfo));
    require_computable(*p, "rebuilt");
    if (is_being_rebuilt(p->id))
        refuse("projection \"" + p->name + "\" is being rebuilt already", "cancel_rebuild ends that.");
    std::optional<Progress> progress = read_progress(p->id);
    if (!progress)
        (void)require_projection(p->name);
    if (progress->status == "disabled")
        refuse("projection \"" + p->name + "\" is disabled",
               "enable_projection sets it going; then it can be rebuilt.");
    end_rebuild(*p); // one that has failed
    begin_rebuild(*p, *progress);
    announce(p->owner);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_cancel_rebuild) {
    ProjectionPointer p = lock_by_name(pg::Arguments(fcinfo));
    if (std::optional<Rebuild> rebuild = read_rebuild(p->id); !rebuild || rebuild->done)
        refuse("projection \"" + p->name + "\" is not being rebuilt", "View projections shows its status.");
    end_rebuild(*p);
    worker::announce_projected();
    PG_RETURN_VOID();
}

} // namespace chronicle::projection
