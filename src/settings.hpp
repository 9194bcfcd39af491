// The one table of settings (contract, section 10; docs/reference/settings.md is checked against the catalog).
#pragma once

namespace chronicle::settings {

extern bool workers; // chronicle.workers: suset, so that it can be set per database by ALTER DATABASE … SET
extern int worker_processes; // chronicle.worker_processes: executors per server, postmaster
extern int worker_batch; // chronicle.worker_batch: nodes in one transaction
extern int max_databases; // chronicle.max_databases: databases with appends or workers, postmaster
extern int max_event_bytes; // chronicle.max_event_bytes: bytes
extern int max_streams_per_transaction; // chronicle.max_streams_per_transaction
extern int snapshot_every; // chronicle.snapshot_every: events
extern int keep_snapshots; // chronicle.keep_snapshots: per stream
extern int scavenge_interval; // chronicle.scavenge_interval: seconds between rounds of the scheduler; -1: none
extern int output_rows; // chronicle.output_rows: rows kept as JSON
extern int max_output_bytes; // chronicle.max_output_bytes: bytes of JSON that references and conditions see
extern int default_retry_attempts; // chronicle.default_retry_attempts
extern int execution_retention; // chronicle.execution_retention: seconds, -1: for ever
extern int command_retention; // chronicle.command_retention: seconds, -1: for ever
extern int timeline_width; // chronicle.timeline_width: characters

/// Defines them all; in _PG_init, before anything reads one.
void define();

} // namespace chronicle::settings
