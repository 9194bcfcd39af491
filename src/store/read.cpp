// The SQL functions that read. One stream: by the index on (stream, version). The log: log.cpp.
#include "core/uuid.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "compat/compat.hpp"
#include "store/event_row.hpp"
#include "store/log.hpp"
#include "store/path_filter.hpp"
#include "store/read.hpp"
#include "store/retention.hpp"
#include "store/stream.hpp"
#include "store/time.hpp"

extern "C" {
#include "access/stratnum.h"
#include "funcapi.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"
}

namespace chronicle::store {

namespace {

struct Range {
    std::optional<int64> from;
    std::optional<int64> count;
    bool backwards;
};

// The second column of both indexes is the version.
void bound_version(pg::IndexReader &reader, const Range &range) {
    if (range.from)
        reader.key(2, range.backwards ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber,
                   range.backwards ? F_INT8LE : F_INT8GE, Int64GetDatum(*range.from));
}

// A stream of users' events.
class StreamReader : public EventSource {
public:
    StreamReader(std::string name, const Range &range, Snapshot snapshot)
        : name_(std::move(name)), range_(range), text_(pg::make_text(name_)) {
        std::optional<Stream> found = find_visible_stream(name_, snapshot);
        if (!found)
            return;
        const catalog::Objects &c = catalog::objects();
        reader_.emplace(c.event, c.event_stream_version_key, snapshot);
        reader_->key(1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(found->id));
        reader_->key(2, BTGreaterStrategyNumber, F_INT8GT,
                     Int64GetDatum(hidden_versions(*found, catalog::category_of(name_), snapshot)));
        bound_version(*reader_, range);
    }

private:
    const EventRow *find_next() override {
        fresh_row();
        if (!reader_ || (range_.count && given_ >= *range_.count) || !reader_->next(range_.backwards))
            return nullptr;
        given_++;
        maker_.make(*reader_, name_, row_);
        row_.stream_text = text_;
        return &row_;
    }

    const std::string name_;
    const Range range_;
    std::optional<pg::IndexReader> reader_; // nothing: no such stream
    const Datum text_;
    EventRow row_;
    EventMaker maker_;
    int64 given_ = 0;
};

void require_positive(std::optional<int64> value, const char *name) {
    if (value && *value < 1)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(name) + " must be at least 1, not " + std::to_string(*value)});
}

// The run that a stream "workflow-<workflow>/<execution>" belongs to, when the caller may see it.
std::optional<core::Uuid> visible_execution(const std::string &stream) {
    static constexpr Oid types[] = {UUIDOID, TEXTOID};
    static pg::Statement find{"SELECT owner, started_by FROM chronicle_data.execution "
                              "WHERE execution_id = $1 AND 'workflow-' || workflow_id || '/' || execution_id = $2",
                              types};
    size_t slash = stream.rfind('/');
    std::optional<core::Uuid> id =
        slash == std::string::npos ? std::nullopt : core::uuid_from_text(std::string_view(stream).substr(slash + 1));
    if (!id)
        return std::nullopt;
    std::string owner, started_by;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.uuid(*id).text(stream), true);
        if (rows.empty())
            return std::nullopt;
        owner = rows[0].text(1);
        started_by = rows[0].text(2);
    }
    return access::may_act_for(owner) || access::may_act_for(started_by) ? id : std::nullopt;
}

// The events of a run.
class RunReader : public EventSource {
public:
    RunReader(std::string name, const Range &range, Snapshot snapshot) : name_(std::move(name)), range_(range) {
        std::optional<core::Uuid> execution = visible_execution(name_);
        if (!execution)
            return;
        const catalog::Objects &c = catalog::objects();
        reader_.emplace(c.workflow_event, c.workflow_event_execution_version_key, snapshot);
        reader_->key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(*execution));
        bound_version(*reader_, range);
    }

private:
    const EventRow *find_next() override {
        fresh_row();
        if (!reader_ || (range_.count && given_ >= *range_.count) || !reader_->next(range_.backwards))
            return nullptr;
        given_++;
        return &row_.emplace(read_run_event(*reader_, name_, type_));
    }

    const std::string name_;
    const Range range_;
    std::optional<pg::IndexReader> reader_; // nothing: no such run, or not one that the caller sees
    std::string type_;
    std::optional<EventRow> row_;
    int64 given_ = 0;
};

std::unique_ptr<EventSource> open_read_stream(const pg::Arguments &arguments, Snapshot snapshot,
                                              std::optional<int64> &) {
    std::string stream = arguments.required_text(0, "stream");
    Range range{arguments.int8(1), arguments.int8(2), arguments.boolean(3).value_or(false)};
    catalog::check_stream_to_read(stream);
    require_positive(range.from, "from_version");
    require_positive(range.count, "max_count");
    if (catalog::category_of(stream) == catalog::workflow_category)
        return std::make_unique<RunReader>(std::move(stream), range, snapshot);
    access::require_read_stream(stream);
    return std::make_unique<StreamReader>(std::move(stream), range, snapshot);
}

std::optional<TimestampTz> time_argument(const pg::Arguments &arguments, int i) {
    return arguments.null(i) ? std::nullopt : std::optional<TimestampTz>(DatumGetTimestampTz(arguments.datum(i)));
}

void check_position(std::optional<int64> position) {
    if (position && *position < 0)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "after_position must not be negative, is " + std::to_string(*position)});
}

// A group and a member of it, or neither.
void read_group(const pg::Arguments &arguments, LogQuery &query) {
    std::optional<int32> size = arguments.int4(3), member = arguments.int4(4);
    if (!size && !member)
        return;
    if (!size || !member || *size < 1 || *member < 0 || *member >= *size)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "consumer_group_size must be at least 1, and consumer_group_member from 0 to size - 1"});
    query.group_size = *size;
    query.group_member = *member;
}

std::unique_ptr<EventSource> open_read_all(const pg::Arguments &arguments, Snapshot snapshot,
                                           std::optional<int64> &mark) {
    LogQuery query{.after = arguments.int8(0),
                   .count = arguments.int8(1).value_or(1000),
                   .categories = arguments.texts(2, "categories"),
                   .types = arguments.texts(3, "types"),
                   .stream_regex = arguments.text(4),
                   .type_regex = arguments.text(5),
                   .since = time_argument(arguments, 6),
                   .until = time_argument(arguments, 7),
                   .filter = arguments.null(8) ? std::nullopt : std::optional(arguments.datum(8)),
                   .backwards = arguments.boolean(9).value_or(false),
                   .include_system = arguments.boolean(10).value_or(false)};
    for (const std::string &category : query.categories.value_or(std::vector<std::string>()))
        catalog::check_category(category);
    check_position(query.after);
    require_positive(query.count, "max_count");
    if (query.filter)
        refuse_variables(*query.filter, "filter");
    return open_log(std::move(query), snapshot, mark);
}

std::unique_ptr<EventSource> open_read_category(const pg::Arguments &arguments, Snapshot snapshot,
                                                std::optional<int64> &mark) {
    std::string category = arguments.required_text(0, "category");
    catalog::check_category(category);
    LogQuery query{.after = arguments.int8(1),
                   .count = arguments.int8(2).value_or(1000),
                   .categories = std::vector{category}};
    check_position(query.after);
    require_positive(query.count, "max_count");
    read_group(arguments, query);
    return open_log(std::move(query), snapshot, mark);
}

// All rows at once, where the executor wants the function's result as a whole.
Datum read_into_result(FunctionCallInfo fcinfo, EventOpener open) {
    pg::Arguments arguments(fcinfo);
    Snapshot snapshot = pg::call([]() noexcept { return GetActiveSnapshot(); });
    std::optional<int64> mark;
    std::unique_ptr<EventSource> source = open(arguments, snapshot, mark);
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    while (const EventRow *row = source->next()) {
        pg::MemorySwitch to_row(source->row_memory());
        Datum values[event_columns];
        bool nulls[event_columns];
        event_values(*row, all_columns, values, nulls);
        pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
        pg::check_interrupts();
    }
    PG_RETURN_NULL();
}

} // namespace

CHRONICLE_FUNCTION(chronicle_read_stream) { return read_into_result(fcinfo, open_read_stream); }
CHRONICLE_FUNCTION(chronicle_read_all) { return read_into_result(fcinfo, open_read_all); }
CHRONICLE_FUNCTION(chronicle_read_category) { return read_into_result(fcinfo, open_read_category); }

EventOpener event_opener(PGFunction function) {
    return function == chronicle_read_stream     ? open_read_stream
           : function == chronicle_read_all      ? open_read_all
           : function == chronicle_read_category ? open_read_category
                                                 : nullptr;
}

CHRONICLE_FUNCTION(chronicle_position_at) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"at\" must not be NULL"});
    access::require_read_any();
    PG_RETURN_INT64(position_at(DatumGetTimestampTz(arguments.datum(0))));
}

CHRONICLE_FUNCTION(chronicle_stream_version) {
    std::string stream = pg::Arguments(fcinfo).required_text(0, "stream");
    catalog::check_stream_to_read(stream);
    access::require_read_stream(stream);
    std::optional<Stream> found = find_stream(stream, SnapshotSelf);
    int64 version = found ? last_version(found->id) : 0;
    if (version == 0)
        PG_RETURN_NULL();
    PG_RETURN_INT64(version);
}

} // namespace chronicle::store
