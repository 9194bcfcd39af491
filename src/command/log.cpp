#include "core/json.hpp"

#include "command/log.hpp"

#include "access/access.hpp"
#include "sqlstates.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
}

namespace chronicle::command {

namespace {

// Rejections that were raised as errors in this transaction. No memory of the server: they outlive its savepoints.
struct Raised {
    std::optional<pg::Uuid> id;
    std::string stream, name, payload, actor, reason;
    int64 version;
    TimestampTz at;
};
std::vector<Raised> *raised = nullptr;

std::string current_actor() {
    return pg::call([]() noexcept { return GetUserNameFromId(GetSessionUserId(), false); });
}

[[noreturn]] void raise_conflict(const Command &command, const std::string &why) {
    std::string id = pg::uuid_to_string(*command.id);
    pg::raise(idempotency_conflict,
              {.message = "command id " + id + " was used for " + why,
               .detail = core::json{{"key", id}, {"command", command.name}}.dump(),
               .hint = "A retry repeats stream, command and payload; a new command needs a new id."});
}

void check_same(const Command &command, const std::string &stream, const std::string &name, Datum payload) {
    Datum given = command.payload;
    bool same = stream == command.stream && name == command.name &&
                pg::call([&]() noexcept { return DatumGetBool(DirectFunctionCall2(jsonb_eq, payload, given)); });
    if (!same)
        raise_conflict(command, "another command");
}

void insert(const Raised &row, bool accepted, int64 first_version, bool skip_conflict) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID,
                                    BOOLOID, TEXTOID, INT8OID, INT8OID,  TIMESTAMPTZOID};
#define INSERT_COMMAND                                                                                                 \
    "INSERT INTO chronicle_data.command (command_id, stream, command, payload, actor, accepted, reason, "              \
    "first_version, last_version, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    static pg::Statement plain{INSERT_COMMAND, types};
    static pg::Statement unless_there{INSERT_COMMAND " ON CONFLICT (command_id) DO NOTHING", types};
#undef INSERT_COMMAND
    access::EngineScope engine;
    pg::Values values;
    row.id ? values.uuid(*row.id) : values.null();
    values.text(row.stream).text(row.name).jsonb(row.payload).text(row.actor).boolean(accepted);
    accepted ? values.null() : values.text(row.reason);
    first_version > 0 ? values.int8(first_version) : values.null();
    values.int8(row.version).time(row.at);
    (skip_conflict ? unless_there : plain).run(values);
}

// Whoever answered the same id meanwhile was first.
void on_transaction(XactEvent event, void *) {
    if (!raised || raised->empty())
        return;
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE:
        pg::entry([]() {
            for (const Raised &row : *raised)
                insert(row, false, 0, true);
        });
        break;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
        raised->clear();
        break;
    default:
        break;
    }
}

Raised row_of(const Command &command, const Answer &answer) {
    return {command.id,      command.stream, command.name,   pg::jsonb_to_string(command.payload),
            current_actor(), answer.reason,  answer.version, GetCurrentTimestamp()};
}

std::optional<Answer> find_raised(const Command &command) {
    if (raised)
        for (const Raised &row : *raised)
            if (row.id && row.id == command.id) {
                check_same(command, row.stream, row.name, pg::make_jsonb(row.payload));
                return Answer{false, 0, row.version, row.reason};
            }
    return std::nullopt;
}

} // namespace

std::optional<Answer> find_answer(const Command &command) {
    if (!command.id)
        return std::nullopt;
    if (std::optional<Answer> found = find_raised(command))
        return found;
    static constexpr Oid types[] = {UUIDOID};
    static pg::Statement find{"SELECT stream, command, payload, accepted, reason, coalesce(first_version, 0), "
                              "last_version FROM chronicle_data.command WHERE command_id = $1",
                              types};
    access::EngineScope engine;
    pg::LatestSnapshotScope latest;
    pg::Values values;
    pg::Rows rows = find.run(values.uuid(*command.id), true);
    if (rows.empty())
        return std::nullopt;
    bool is_null;
    check_same(command, rows[0].text(1), rows[0].text(2), rows[0].datum(3, &is_null));
    return Answer{rows[0].boolean(4), rows[0].int8(6), rows[0].int8(7), rows[0].maybe_text(5).value_or("")};
}

void record(const Command &command, const Answer &answer) {
    try {
        insert(row_of(command, answer), answer.accepted, answer.first_version, false);
    } catch (const pg::Error &error) {
        if (error.sqlstate() != ERRCODE_UNIQUE_VIOLATION || error.constraint() != "command_id_key")
            throw;
        raise_conflict(command, "another stream at the same time");
    }
}

void record_at_commit(const Command &command, const Answer &answer) {
    if (!raised) {
        raised = new std::vector<Raised>();
        pg::call([]() noexcept { RegisterXactCallback(on_transaction, nullptr); });
    }
    raised->push_back(row_of(command, answer));
}

} // namespace chronicle::command
