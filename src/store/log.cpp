// Reading the log in position order.
//
// Users' events come by one scan on the position, or, with a filter on category or type, by a merge of one index scan
// on (kind, position) per kind that passes, so that rare kinds do not scan the log; many kinds by batches
// (log_source.cpp). Events of runs are one more source, merged in by position. What filters are left is looked at row
// by row.
//
// Forwards, nothing above the mark is read: see order.cpp. The mark belongs to the asking statement's snapshot, and so
// do the scans, so in REPEATABLE READ the whole transaction sees one log.
#include "core/json.hpp"
#include "core/uuid.hpp"

#include "store/log.hpp"

#include "access/access.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "store/kind.hpp"
#include "store/log_source.hpp"
#include "store/order.hpp"
#include "store/path_filter.hpp"
#include "store/retention.hpp"
#include "store/stream.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_collation_d.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
}

namespace chronicle::store {

namespace {

constexpr std::string_view streams_category = "$streams"; // what happened to streams: their deletion
constexpr size_t merge_limit = 64; // scans that are open at once

bool matches(const char *pattern, std::string_view text) {
    return pg::call([&]() noexcept {
        Datum subject = PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
        return DatumGetBool(
            DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID, subject, PointerGetDatum(cstring_to_text(pattern))));
    });
}

void check_regex(const std::optional<std::string> &pattern, const char *name) {
    if (!pattern)
        return;
    try {
        (void)matches(pattern->c_str(), "");
    } catch (const pg::Error &error) {
        if (error.sqlstate() != ERRCODE_INVALID_REGULAR_EXPRESSION)
            throw;
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = std::string(name) + ": " + error.message()});
    }
}

bool among(const std::optional<std::vector<std::string>> &wanted, std::string_view value) {
    return !wanted || std::find(wanted->begin(), wanted->end(), value) != wanted->end();
}

// Streams by id, as the snapshot sees them. Their names as texts lie in the memory of the scan.
class Streams {
public:
    struct Known {
        std::string name;
        Datum text = 0;
        int64 hidden = 0;
        bool wanted = true; // and the caller may read it
    };
    explicit Streams(Snapshot snapshot) : hidden_(snapshot), finder_(snapshot), memory_(CurrentMemoryContext) {}
    template <typename Wanted> const Known &of(int64 id, Wanted &&wanted) {
        Known &known = known_[id];
        if (known.text != 0)
            return known;
        if (std::optional<Stream> stream = finder_.find(id, &known.name))
            known.hidden = hidden_.of(*stream, catalog::category_of(known.name));
        else // made by another session after the snapshot, and written by ours
            (void)find_stream_by_id(id, SnapshotSelf, &known.name);
        known.wanted = access::may_read_stream(known.name) && wanted(catalog::category_of(known.name));
        pg::MemorySwitch to_scan(memory_);
        known.text = pg::make_text(known.name);
        return known;
    }

private:
    HiddenVersions hidden_;
    StreamFinder finder_;
    MemoryContext memory_;
    std::unordered_map<int64, Known> known_;
};

// Runs by id: the stream's name, and whether the caller sees it.
class Runs {
public:
    struct Run {
        std::string stream;
        bool visible = false;
    };
    const Run &of(const pg::Uuid &id, Snapshot snapshot) {
        std::string key(id.begin(), id.end());
        auto found = runs_.find(key);
        if (found != runs_.end())
            return found->second;
        const catalog::Objects &c = catalog::objects();
        pg::IndexReader reader(c.execution, c.execution_pkey, snapshot);
        reader.key(1, BTEqualStrategyNumber, F_UUID_EQ, pg::make_uuid(id));
        Run run;
        bool is_null;
        if (reader.next()) {
            run.stream = "workflow-" + pg::to_string(reader.column(2, &is_null)) + "/" + core::uuid_to_text(id);
            run.visible = access::may_act_for(pg::to_string(reader.column(5, &is_null))) ||
                          access::may_act_for(pg::to_string(reader.column(6, &is_null)));
        }
        return runs_.emplace(std::move(key), std::move(run)).first->second;
    }

private:
    std::unordered_map<std::string, Run> runs_;
};

class LogReader : public EventSource {
public:
    LogReader(LogQuery query, Snapshot snapshot, int64 mark)
        : query_(std::move(query)), snapshot_(snapshot), mark_(mark), streams_(snapshot), maker_(query_.as_stored) {
        if (query_.filter)
            path_.emplace(*query_.filter);
        wants_runs_ =
            query_.include_system || (query_.categories && among(query_.categories, catalog::workflow_category));
        wants_users_ = !wants_runs_ || !query_.categories ||
                       *query_.categories != std::vector{std::string(catalog::workflow_category)};
        readable_ = access::readable_categories();
        if (wants_users_) {
            check_rights();
            open_user_sources();
        }
        if (wants_runs_ && among(query_.categories, catalog::workflow_category))
            add(scan_table(catalog::objects().workflow_event, catalog::objects().workflow_event_pkey, std::nullopt,
                           range(), snapshot_));
    }

private:
    const EventRow *find_next() override {
        while (found_ < query_.count && (!query_.scan || query_.scan->rows < query_.scan->limit)) {
            fresh_row();
            current_ = advance();
            if (!current_)
                return nullptr;
            if (query_.scan) {
                query_.scan->rows++;
                query_.scan->position = current_->position;
            }
            if ((current_->of_runs ? run_row(current_->row()) : user_row(current_->row())) && passes(row_)) {
                found_++;
                return &row_;
            }
            pg::check_interrupts();
        }
        return nullptr;
    }

    // Who names a category must have the right to it; who names none gets those that it may read. What happened to
    // streams (category $streams) is anybody's to ask for, and looked at stream by stream.
    void check_rights() const {
        access::require_read_any();
        if (query_.categories)
            for (const std::string &category : *query_.categories)
                if (category != catalog::workflow_category && category != streams_category)
                    access::require_read(category);
    }

    // System categories only for those who name them, or ask for all.
    bool wants_category(std::string_view category) const {
        if (readable_ && category != streams_category && !readable_->contains(category))
            return false;
        return !category.starts_with('$') || query_.include_system || query_.categories;
    }

    bool wants_kind(const std::string &category, const std::string &type) const {
        return wants_category(category) && among(query_.categories, category) && among(query_.types, type) &&
               (!query_.type_regex || matches(query_.type_regex->c_str(), type));
    }

    void add_wanted(pg::IndexReader &reader, std::vector<int32> &kinds) const {
        bool is_null;
        while (reader.next())
            if (wants_kind(pg::to_string(reader.column(2, &is_null)), pg::to_string(reader.column(3, &is_null))))
                kinds.push_back(DatumGetInt32(reader.column(1, &is_null)));
    }

    // The index begins with the names' column.
    void add_named(Oid index, const std::set<std::string, std::less<>> &names, std::vector<int32> &kinds) const {
        pg::IndexReader reader(catalog::objects().event_kind, index, SnapshotSelf);
        for (const std::string &name : names) {
            reader.restart();
            reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(name), C_COLLATION_OID);
            add_wanted(reader, kinds);
        }
    }

    // The kinds that pass; nothing when every kind does. By the newest state: a kind without an event that the snapshot
    // sees costs nothing. There may be as many kinds as streams (a name without "-" is a category), so those with a
    // name are looked up; only a regex alone looks at them all.
    std::optional<std::vector<int32>> wanted_kinds() const {
        if (!query_.categories && !query_.types && !query_.type_regex && !readable_)
            return std::nullopt;
        const catalog::Objects &c = catalog::objects();
        std::vector<int32> kinds;
        if (query_.categories) {
            add_named(c.event_kind_name, {query_.categories->begin(), query_.categories->end()}, kinds);
        } else if (query_.types) {
            add_named(c.event_kind_type, {query_.types->begin(), query_.types->end()}, kinds);
        } else if (readable_) {
            std::set<std::string, std::less<>> readable = *readable_;
            readable.emplace(streams_category);
            add_named(c.event_kind_name, readable, kinds);
        } else {
            pg::IndexReader reader(c.event_kind, c.event_kind_name, SnapshotSelf);
            add_wanted(reader, kinds);
        }
        return kinds;
    }

    void open_user_sources() {
        const catalog::Objects &c = catalog::objects();
        std::optional<std::vector<int32>> kinds = wanted_kinds();
        if (!kinds)
            add(scan_table(c.event, c.event_pkey, std::nullopt, range(), snapshot_));
        else if (kinds->size() > merge_limit)
            add(scan_many_kinds(std::move(*kinds), query_.count, range(), snapshot_));
        else
            for (int32 kind : *kinds)
                add(scan_table(c.event, c.event_kind_position, kind, range(), snapshot_));
    }

    LogRange range() const { return {query_.after, mark_, query_.backwards}; }
    void add(std::unique_ptr<LogSource> source) { sources_.push_back(std::move(source)); }

    // To the next row of any source. The one before stays where it is until then: its row was still in use.
    LogSource *advance() {
        if (current_)
            current_->advance();
        else if (!std::exchange(started_, true))
            for (auto &source : sources_)
                source->advance();
        return nearest();
    }

    LogSource *nearest() {
        LogSource *best = nullptr;
        for (auto &source : sources_)
            if (!source->at_end &&
                (!best || (query_.backwards ? source->position > best->position : source->position < best->position)))
                best = source.get();
        return best;
    }

    // False: not for this reader.
    bool user_row(const pg::RowReader &reader) {
        bool is_null;
        const Streams::Known &stream =
            streams_.of(DatumGetInt64(reader.column(2, &is_null)),
                        [this](std::string_view category) { return wants_category(category); });
        if (DatumGetInt64(reader.column(3, &is_null)) <= stream.hidden || !stream.wanted)
            return false;
        maker_.make(reader, stream.name, row_);
        row_.stream_text = stream.text;
        return true;
    }

    bool run_row(const pg::RowReader &reader) {
        bool is_null;
        const Runs::Run &run = runs_.of(pg::to_uuid(reader.column(2, &is_null)), snapshot_);
        if (!run.visible)
            return false;
        row_ = read_run_event(reader, run.stream, run_type_);
        return among(query_.types, run_type_) && (!query_.type_regex || matches(query_.type_regex->c_str(), run_type_));
    }

    bool passes(const EventRow &row) {
        TimestampTz at = DatumGetTimestampTz(row.recorded_at);
        if ((query_.since && at < *query_.since) || (query_.until && at > *query_.until))
            return false;
        if (query_.group_size > 0 && pg::lock_key(row.stream) % static_cast<uint64>(query_.group_size) !=
                                         static_cast<uint64>(query_.group_member))
            return false;
        if (!among(query_.streams, row.stream))
            return false;
        if (query_.stream_regex && !matches(query_.stream_regex->c_str(), row.stream))
            return false;
        return !path_ || path_->passes(event_object(row));
    }

    const LogQuery query_;
    Snapshot snapshot_;
    int64 mark_;
    bool wants_runs_, wants_users_;
    std::optional<std::set<std::string, std::less<>>> readable_; // nothing: every category
    std::optional<PathFilter> path_;
    std::vector<std::unique_ptr<LogSource>> sources_;
    Streams streams_;
    EventMaker maker_;
    Runs runs_;
    std::string run_type_;
    bool started_ = false;
    LogSource *current_ = nullptr;
    EventRow row_;
    int64 found_ = 0;
};

} // namespace

std::unique_ptr<EventSource> open_log(LogQuery query, Snapshot snapshot, std::optional<int64> &mark) {
    check_regex(query.stream_regex, "stream_regex");
    check_regex(query.type_regex, "type_regex");
    if (!mark)
        mark = order::mark(snapshot);
    return std::make_unique<LogReader>(std::move(query), snapshot, *mark);
}

} // namespace chronicle::store
