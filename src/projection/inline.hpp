// Inline projections: in the appender's transaction. Told in inline.cpp.
#pragma once

#include "projection/progress.hpp"
#include "store/watch.hpp"

namespace chronicle::projection {

/// Waits until no open transaction has appended events that the projection follows, and keeps new ones out, until the
/// end of the transaction: its status may be changed then. `patience_ms` 0: as long as it takes; else 55P03.
void keep_appenders_out(int64 id, int patience_ms);

/// The last step of a catch-up, under the projection's lock: applies what is left and sets it running. False when it
/// cannot be done now; it is tried again soon.
bool go_live(const Projection &projection, const Progress &progress, int64 position);

/// For the append's watchers.
bool follows_inline(const store::StoredBatch &stored);

} // namespace chronicle::projection
