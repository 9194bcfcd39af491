// One batch of a projection in an executor. Told in follow.cpp.
#pragma once

#include "projection/projection.hpp"
#include "worker/source.hpp"

namespace chronicle::projection {

enum class Outcome { worked, filled /* the same, and there is more */, nothing, busy /* another works on it */ };

/// In transactions of its own; as an executor with this lease.
Outcome follow(const ProjectionPointer &projection, const worker::Claimant &claimant);

} // namespace chronicle::projection
