// One batch of a projection in an executor. Told in follow.cpp.
#pragma once

#include "projection/projection.hpp"
#include "worker/source.hpp"

namespace chronicle::projection {

enum class Outcome { worked, filled /* the same, and there is more */, nothing, busy /* another works on it */ };

/// In transactions of its own; as an executor with this lease.
Outcome follow(const ProjectionPointer &projection, const worker::Claimant &claimant);

/// What became of the first ones of those that were given: all of these have been committed, in one transaction. None:
/// it has been rolled back, and each is to be followed alone.
struct Together {
    std::vector<std::optional<Outcome>> outcomes; // nothing: this one is to be followed alone
};
/// A batch of each in one transaction, for all whose Pace::goes_together().
Together follow_together(const std::vector<ProjectionPointer> &projections);

} // namespace chronicle::projection
