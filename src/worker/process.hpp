// What launcher, scheduler and executor have in common as processes.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "postmaster/bgworker.h"
}

namespace chronicle::worker {

/// Signal handlers (before signals are let in): SIGTERM ends the process, SIGHUP reloads, SIGINT is `on_interrupt`.
void set_signal_handlers(void (*on_interrupt)(int));
/// This process was told to end because the server stops.
bool ended_by_shutdown();
/// Re-reads the configuration after a SIGHUP; true when it did.
bool reload_if_asked();

/// statement_timeout, lock_timeout, transaction_timeout: what a server, database or role sets for its clients ends no
/// transaction of a worker. After the connection.
void disarm_timeouts();
/// Fills in what all our workers share.
BackgroundWorker describe_worker(const char *name, const char *function);
/// Starts a dynamic worker that reports to this process; nullptr (and one log line for the whole server life) when
/// max_worker_processes is used up.
BackgroundWorkerHandle *start_worker(BackgroundWorker &worker);

/// Registers the launcher; in _PG_init.
void register_launcher();

} // namespace chronicle::worker
