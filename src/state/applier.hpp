// What a fold does with each event: calls the apply function, or does natively what a ready-made one would.
#pragma once

#include "store/event_row.hpp"
#include "state/aggregate.hpp"

namespace chronicle::state {

class Applier {
public:
    virtual ~Applier() = default;
    /// Begins with a state (copied).
    virtual void start(NullableDatum state) = 0;
    /// The function's own error, with a line of context that names the event.
    virtual void apply(const store::EventRow &event) = 0;
    /// The state so far, in the current memory context.
    virtual NullableDatum state() = 0;
    /// The function's OID.
    virtual Oid function() const = 0;
};

/// For a function by its stored name that `role` runs. Made and used inside access::OwnerScope, in a memory context
/// that lives as long as the fold.
std::unique_ptr<Applier> make_applier(const std::string &function, Oid role);

} // namespace chronicle::state
