// Inline projections: in the appender's transaction. Told in inline.cpp.
#pragma once

#include "projection/progress.hpp"
#include "store/watch.hpp"

namespace chronicle::projection {

/// Waits until no open transaction has appended events that the projection follows, and keeps new ones out, until the
/// end of the transaction: its status may be changed then. `patience_ms` 0: as long as it takes; else 55P03.
void keep_appenders_out(int64 id, int patience_ms);

/// The same for the worker, which gives up soon: false.
bool try_keep_appenders_out(int64 id);

/// An inline projection that has come near the end of the log goes live only behind its fence.
void set_fence(int64 id);

/// The last step of a catch-up, under the projection's lock, while appenders are kept out: applies what lies after the
/// position, besides the `applied` events of this transaction, and sets it running.
void go_live(const Projection &projection, const Progress &progress, int64 position, int64 applied);

/// For the append's watchers.
bool follows_inline(const store::StoredBatch &stored);

} // namespace chronicle::projection
