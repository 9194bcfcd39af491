// Commands: load the state → decide → append, in one transaction (contract, section 3).
//
// The stream's lock is taken first and held to the end of the transaction, so the state that `decide` sees is the state
// that the events are appended to: there is no race to lose, and nothing to decide twice. Whoever waited reads the
// newest committed state, in every isolation level; REPEATABLE READ and SERIALIZABLE get 40001 instead when that state
// is not in their snapshot, because `decide` may read other tables with it.
//
// The lock also serialises calls with one command id (they name the same stream; if not, the log's unique index finds
// it), so the first answer is there before the second call looks for it.
//
// Locks: the stream's. User code (`decide`) runs as the aggregate's owner in a security-restricted operation; the
// append is the caller's own. A crash leaves nothing: events and the log's row are of one transaction.
#include "core/json.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "command/log.hpp"
#include "pg/relation.hpp"
#include "pg/user_function.hpp"
#include "sqlstates.hpp"
#include "state/aggregate.hpp"
#include "state/fold.hpp"
#include "store/append.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/stratnum.h"
#include "access/xact.h"
#include "funcapi.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
}

namespace chronicle::command {

namespace {

// --- the newest state, or 40001 ---

// The stream's newest version that another transaction wrote; 0: none.
int64 newest_of_others(int64 stream_id) {
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event, c.event_stream_version_key, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
    bool is_null;
    while (reader.next(true)) {
        TransactionId xmin = DatumGetTransactionId(reader.column(MinTransactionIdAttributeNumber, &is_null));
        if (!TransactionIdIsCurrentTransactionId(xmin))
            return DatumGetInt64(reader.column(3, &is_null));
    }
    return 0;
}

bool is_visible(int64 stream_id, int64 version) {
    const catalog::Objects &c = catalog::objects();
    Snapshot snapshot = pg::call([]() noexcept { return GetTransactionSnapshot(); });
    pg::IndexReader reader(c.event, c.event_stream_version_key, snapshot);
    reader.key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream_id));
    reader.key(2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(version));
    return reader.next() != nullptr;
}

void require_current_snapshot(const std::string &name) {
    if (!IsolationUsesXactSnapshot())
        return;
    std::optional<store::Stream> stream = store::find_stream(name, SnapshotSelf);
    int64 newest = stream ? newest_of_others(stream->id) : 0;
    if (newest > 0 && !is_visible(stream->id, newest))
        pg::raise(ERRCODE_T_R_SERIALIZATION_FAILURE,
                  {.message = "could not serialize access to stream \"" + name + "\" due to a concurrent append",
                   .hint = "The transaction might succeed if retried."});
}

// --- deciding ---

bool is_rejection(const pg::Error &error) {
    return error.sqlstate() == ERRCODE_RAISE_EXCEPTION || error.sqlstate() == command_rejected;
}

// Its events for the newest state, or nothing for NULL. Raises what it raises.
std::optional<Datum> decide(const state::Aggregate &aggregate, const Command &command) {
    NullableDatum state = state::fold_stream(aggregate, command.stream, SnapshotSelf).state;
    access::OwnerScope owner(aggregate.owner_oid(), aggregate.search_path);
    pg::UserFunction function(*aggregate.decide, state::decide_signature(), GetUserId());
    NullableDatum arguments[] = {state, {pg::make_text(command.name), false}, {command.payload, false}};
    NullableDatum result = function.call(arguments);
    return result.isnull ? std::nullopt : std::optional(result.value);
}

// decide() tells what is to be appended, and appends nothing itself: what it decided on would not be true any more.
void check_untouched(const std::string &name, const std::optional<store::Stream> &before, int64 version) {
    std::optional<store::Stream> now = store::find_stream(name, SnapshotSelf);
    int64 now_version = now ? store::last_version(now->id) : version;
    bool hidden = before && now && (now->hidden != before->hidden || now->tombstoned != before->tombstoned);
    if (now_version != version || hidden)
        pg::raise(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                  {.message = "decide() changed stream \"" + name + "\" itself",
                   .detail = core::json{{"stream", name}, {"version", version}, {"actual", now_version}}.dump(),
                   .hint = "It returns the events; they are appended for it."});
}

// The command's metadata below the event's own.
Datum merged(Datum below, Datum above) {
    return pg::call([&]() noexcept { return DirectFunctionCall2(jsonb_concat, below, above); });
}

std::vector<store::NewEvent> events_of(const Command &command, std::optional<Datum> decided) {
    if (!decided)
        return {};
    std::vector<store::NewEvent> events = store::parse_events(*decided, "decide()");
    for (store::NewEvent &event : events)
        event.metadata = merged(command.metadata, event.metadata);
    return events;
}

[[noreturn]] void raise_rejected(const Command &command, const Answer &answer) {
    pg::raise(command_rejected,
              {.message = answer.reason,
               .detail = core::json{{"stream", command.stream}, {"command", command.name}, {"reason", answer.reason}}
                             .dump()});
}

std::shared_ptr<const state::Aggregate> deciding_aggregate(const std::string &stream) {
    std::shared_ptr<const state::Aggregate> aggregate = state::aggregate_of(stream);
    if (!aggregate->decide)
        pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                  {.message = "the aggregate of category \"" + aggregate->category + "\" has no decide function",
                   .hint = "Name one: SELECT create_aggregate(…, decide => 'function', replace => true)."});
    return aggregate;
}

// --- the call ---

void check(const Command &command) {
    catalog::check_name(command.stream, "stream name");
    catalog::check_not_reserved(command.stream);
    catalog::check_name(command.name, "command");
    if (!JB_ROOT_IS_OBJECT(pg::call([&]() noexcept { return DatumGetJsonbP(command.metadata); })))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "metadata must be a JSON object"});
}

// `raises`: a rejection leaves by its error, so what decide() did needs no savepoint.
Answer execute(const Command &command, bool raises) {
    check(command);
    access::require_append(catalog::category_of(command.stream));
    std::shared_ptr<const state::Aggregate> aggregate = deciding_aggregate(command.stream);
    pg::call([]() noexcept { PreventCommandIfReadOnly("execute_command"); });
    store::lock_streams_sorted({command.stream});
    if (std::optional<Answer> first = find_answer(command))
        return *first;
    int64 version = store::append({{command.stream, std::nullopt, {}}}).front().last; // CH002 when tombstoned
    require_current_snapshot(command.stream);

    Answer answer;
    answer.version = version;
    std::optional<store::Stream> before = store::find_stream(command.stream, SnapshotSelf);
    std::optional<Datum> decided;
    auto ask = [&]() { decided = decide(*aggregate, command); };
    std::optional<pg::Error> rejection;
    if (raises) {
        try {
            ask();
        } catch (const pg::Error &error) {
            rejection = error;
        }
    } else {
        rejection = pg::attempt(ask);
    }
    if (rejection && !is_rejection(*rejection))
        throw *rejection;
    if (rejection) {
        answer.reason = rejection->message();
        if (raises)
            record_at_commit(command, answer);
        else
            record(command, answer);
        return answer;
    }
    check_untouched(command.stream, before, version);
    answer.accepted = true;
    std::vector<store::NewEvent> events = events_of(command, decided);
    if (!events.empty()) {
        store::Appended appended = store::append({{command.stream, version, std::move(events)}}).front();
        answer.first_version = appended.first;
        answer.version = appended.last;
    }
    record(command, answer);
    return answer;
}

Command command_of(const pg::Arguments &arguments) {
    auto object_or_empty = [&](int i) { return arguments.null(i) ? pg::make_jsonb("{}") : arguments.datum(i); };
    return {arguments.required_text(0, "stream"), arguments.required_text(1, "command"), object_or_empty(2),
            arguments.uuid(3), object_or_empty(4)};
}

} // namespace

CHRONICLE_FUNCTION(chronicle_execute_command) {
    Command command = command_of(pg::Arguments(fcinfo));
    Answer answer = execute(command, true);
    if (!answer.accepted)
        raise_rejected(command, answer);
    PG_RETURN_INT64(answer.version);
}

CHRONICLE_FUNCTION(chronicle_try_command) {
    Command command = command_of(pg::Arguments(fcinfo));
    Answer answer = execute(command, false);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    Datum values[] = {BoolGetDatum(answer.accepted), Int64GetDatum(answer.version), pg::make_text(answer.reason)};
    bool nulls[] = {false, false, answer.accepted};
    pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
    PG_RETURN_NULL();
}

} // namespace chronicle::command
