#include "settings.hpp"

#include "pg/postgres.hpp"

#include <unistd.h>

namespace chronicle::settings {

bool workers = true;
int worker_processes = 4;
int worker_batch = 32;
int max_databases = 64;
int max_event_bytes = 1024 * 1024;
int max_streams_per_transaction = 1000;
int snapshot_every = 100;
int keep_snapshots = 2;
int scavenge_interval = 10;
int output_rows = 1000;
int max_output_bytes = 16 * 1024 * 1024;
int default_retry_attempts = 1;
int execution_retention = 30 * 24 * 60 * 60;
int command_retention = -1;
int timeline_width = 40;

namespace {

struct IntegerSetting {
    const char *name;
    const char *description;
    int *value;
    int default_value, minimum, maximum;
    GucContext context;
    int flags;
};

int cores() {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > 64 ? 64 : static_cast<int>(online);
}

} // namespace

void define() {
    DefineCustomBoolVariable(
        "chronicle.workers", "Runs workflows and other background work in this database.",
        "Off keeps a restored copy quiet. Per database: ALTER DATABASE … SET chronicle.workers = off.", &workers, true,
        PGC_SUSET, 0, nullptr, nullptr, nullptr);
    const IntegerSetting integers[] = {
        {"chronicle.worker_processes", "Executor processes of the whole server.", &worker_processes, cores(), 1, 256,
         PGC_POSTMASTER, 0},
        {"chronicle.max_databases", "Databases of one server that may use chronicle at a time.", &max_databases, 64, 1,
         1024, PGC_POSTMASTER, 0},
        {"chronicle.worker_batch", "At most so many short nodes run in one transaction.", &worker_batch, 32, 1, 64,
         PGC_SIGHUP, 0},
        {"chronicle.max_event_bytes", "The largest event (data and metadata).", &max_event_bytes, 1024 * 1024, 1024,
         64 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE},
        {"chronicle.max_streams_per_transaction", "Streams that one transaction may append to.",
         &max_streams_per_transaction, 1000, 1, 100000, PGC_SUSET, 0},
        {"chronicle.snapshot_every", "Events between two snapshots of a stream, for aggregates that name no number.",
         &snapshot_every, 100, 10, 10000, PGC_USERSET, 0},
        {"chronicle.keep_snapshots", "Snapshots kept of a stream, for aggregates that name no number.", &keep_snapshots,
         2, 1, 10, PGC_USERSET, 0},
        {"chronicle.scavenge_interval", "Seconds between rounds that remove hidden events; -1: only scavenge() does.",
         &scavenge_interval, 10, -1, 24 * 60 * 60, PGC_SUSET, GUC_UNIT_S},
        {"chronicle.output_rows", "Rows of a node's output that views and execution_result show.", &output_rows, 1000,
         0, 100000, PGC_SIGHUP, 0},
        {"chronicle.max_output_bytes", "The largest output (as JSON) that references and conditions read.",
         &max_output_bytes, 16 * 1024 * 1024, 1024, 256 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_BYTE},
        {"chronicle.default_retry_attempts", "Attempts of a node whose definition names none.", &default_retry_attempts,
         1, 1, 1000, PGC_SIGHUP, 0},
        {"chronicle.execution_retention", "How long runs that are over are kept; -1: for ever.", &execution_retention,
         30 * 24 * 60 * 60, -1, PG_INT32_MAX, PGC_SUSET, GUC_UNIT_S},
        {"chronicle.command_retention", "How long command_log, and with it command ids, are kept; -1: for ever.",
         &command_retention, -1, -1, PG_INT32_MAX, PGC_SUSET, GUC_UNIT_S},
        {"chronicle.timeline_width", "Characters of the bars in execution_timeline.", &timeline_width, 40, 10, 200,
         PGC_USERSET, 0},
    };
    for (const IntegerSetting &s : integers)
        DefineCustomIntVariable(s.name, s.description, nullptr, s.value, s.default_value, s.minimum, s.maximum,
                                s.context, s.flags, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("chronicle");
}

} // namespace chronicle::settings
