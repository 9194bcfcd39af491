// chronicle.command_retention: commands that were answered longer ago leave the log, and their ids with them: a command
// id is known only as long. So the default is for ever.
//
// The oldest are found by their numbers, which rise with the time but for what was answered side by side: a step ends
// at the first page that holds nothing old. Each page is a transaction of its own.
#include "command/retention.hpp"

#include "access/access.hpp"
#include "pg/spi.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace chronicle::command {

namespace {

constexpr int page = 1000;
constexpr int pages_at_once = 20;
constexpr int64 pause_us = 50 * 1000; // to the next step, while there is more
constexpr int64 round_us = 60 * USECS_PER_SEC;

int64 remove_page(TimestampTz before) {
    static constexpr Oid types[] = {TIMESTAMPTZOID, INT4OID};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.command WHERE at < $1 AND command_no IN (SELECT command_no FROM "
        "chronicle_data.command ORDER BY command_no LIMIT $2)",
        types};
    pg::start_transaction();
    int64 removed;
    {
        access::EngineScope engine;
        pg::Values values;
        removed = static_cast<int64>(remove.run(values.time(before).int4(page)).count);
    }
    pg::commit_transaction();
    return removed;
}

} // namespace

std::int64_t remove_old_commands() {
    static TimestampTz due = 0;
    TimestampTz now = GetCurrentTimestamp();
    if (settings::command_retention < 0)
        return 0;
    if (now < due)
        return due;
    TimestampTz before = now - settings::command_retention * USECS_PER_SEC;
    bool more = true;
    for (int i = 0; i < pages_at_once && more; i++)
        more = remove_page(before) > 0;
    due = GetCurrentTimestamp() + (more ? pause_us : round_us);
    return due;
}

} // namespace chronicle::command
