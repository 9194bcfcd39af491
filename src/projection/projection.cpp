#include "core/duration.hpp"
#include "core/json.hpp"
#include "core/object_reader.hpp"

#include "projection/projection.hpp"

#include "access/access.hpp"
#include "catalog/cached_table.hpp"
#include "catalog/names.hpp"
#include "catalog/objects.hpp"
#include "types/upcast.hpp"

extern "C" {
#include "catalog/pg_collation_d.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
}

namespace chronicle::projection {

namespace {

catalog::CachedTable table{"projection"};

struct Cache {
    uint64 generation = 0;
    std::vector<ProjectionPointer> all;
};
Cache *cache = nullptr;

bool among(const std::optional<std::vector<std::string>> &wanted, std::string_view value) {
    return !wanted || std::find(wanted->begin(), wanted->end(), value) != wanted->end();
}

// Of system categories each reader gets what it may see.
bool is_readable_category(std::string_view category) {
    return category == catalog::workflow_category || category.starts_with('$') || access::may_read(category);
}

std::optional<std::vector<std::string>> read_texts(const pg::Row &row, int column) {
    bool is_null;
    Datum array = row.datum(column, &is_null);
    if (is_null)
        return std::nullopt;
    struct Elements {
        Datum *values;
        bool *nulls;
        int count;
    };
    Elements e = pg::call([&]() noexcept {
        Elements found;
        deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &found.values, &found.nulls,
                          &found.count);
        return found;
    });
    std::vector<std::string> texts;
    for (int i = 0; i < e.count; i++)
        texts.push_back(pg::to_string(e.values[i]));
    return texts;
}

ProjectionPointer read(const pg::Row &row) {
    auto p = std::make_shared<Projection>();
    p->id = row.int8(1);
    p->name = row.text(2);
    p->owner = row.text(3);
    p->is_inline = row.text(4) == "inline";
    std::string kind = row.text(5);
    p->kind = kind == "handler" ? Kind::handler : kind == "state" ? Kind::state : Kind::statement;
    p->handler = row.maybe_text(6);
    p->statement = row.maybe_text(7);
    p->search_path = row.text(8);
    p->filter = {read_texts(row, 9), read_texts(row, 10), read_texts(row, 11), row.maybe_text(12)};
    if (!row.null(13))
        p->initial_state = row.jsonb(13);
    p->partition_by = row.maybe_text(14);
    p->options = parse_options(row.jsonb(15));
    p->is_live = row.boolean(16);
    p->generation = row.int4(17);
    p->origin = row.int8(18);
    p->position = row.int8(19);
    return p;
}

} // namespace

pg::Signature handler_signature() {
    return {"handler(event chronicle.event) returns void", 1, {catalog::objects().event_type}, VOIDOID};
}

pg::Signature state_signature() {
    return {"handler(state jsonb, event chronicle.event) returns jsonb",
            2,
            {JSONBOID, catalog::objects().event_type},
            JSONBOID};
}

std::optional<int64> code_fingerprint(const Projection &projection) {
    access::EngineScope engine; // whoever asks may lack rights on the function's schema
    uint64 upcasters = static_cast<uint64>(types::upcasters_fingerprint());
    if (!projection.handler)
        return static_cast<int64>(upcasters);
    pg::Signature signature = projection.kind == Kind::state ? state_signature() : handler_signature();
    Oid handler = pg::find_function(*projection.handler, signature);
    if (!OidIsValid(handler))
        return std::nullopt;
    return static_cast<int64>(static_cast<uint64>(pg::function_hash(handler)) + upcasters);
}

// --- filter ---

bool Filter::wants_category(std::string_view category) const {
    if (categories && !among(categories, category))
        return false;
    if (streams)
        return std::any_of(streams->begin(), streams->end(),
                           [&](const std::string &stream) { return catalog::category_of(stream) == category; });
    return categories || (category != catalog::workflow_category && !category.starts_with('$'));
}

bool Filter::wants(const store::EventRow &event) const {
    return wants_category(event.category) && among(streams, event.stream) && among(types, event.type) &&
           (!stream_regex || matches_regex(*stream_regex, event.stream));
}

bool Filter::is_readable() const {
    std::optional<std::set<std::string, std::less<>>> readable = access::readable_categories(); // nothing: all
    if (readable && readable->empty())
        return false;
    if (categories)
        return std::all_of(categories->begin(), categories->end(), is_readable_category);
    if (streams)
        return std::all_of(streams->begin(), streams->end(), [](const std::string &stream) {
            return is_readable_category(catalog::category_of(stream));
        });
    return !readable;
}

store::LogQuery Filter::query() const {
    if (!categories && !streams)
        access::require(access::Level::reader, "read events of all categories");
    store::LogQuery query{.categories = categories, .types = types, .streams = streams, .stream_regex = stream_regex};
    if (streams && !categories) {
        query.categories.emplace();
        for (const std::string &stream : *streams)
            if (std::string category(catalog::category_of(stream)); !among(query.categories, category))
                query.categories->push_back(category);
    }
    return query;
}

bool matches_regex(const std::string &pattern, std::string_view text) {
    const char *expression = pattern.c_str();
    return pg::call([&]() noexcept {
        Datum subject = PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
        return DatumGetBool(DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID, subject,
                                                    PointerGetDatum(cstring_to_text(expression))));
    });
}

// --- options ---

Options parse_options(const std::string &text) {
    auto refuse = [](const std::vector<core::Fault> &faults) {
        core::json detail = core::json::array();
        for (const core::Fault &fault : faults)
            detail.push_back({{"path", fault.path}, {"problem", fault.problem}});
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "options: " + faults.front().path + " " + faults.front().problem,
                   .detail = detail.dump(),
                   .hint = "Keys are batch_size, max_retries, retry_delay, timeout, on_error, start_from, target, "
                           "reset."});
    };
    core::Result<core::json> parsed = core::parse_json(text);
    if (!parsed || !parsed->is_object())
        refuse({{"$", "must be a JSON object"}});
    std::vector<core::Fault> faults;
    static constexpr std::string_view known[] = {"batch_size", "max_retries", "retry_delay", "timeout",
                                                 "on_error",   "start_from",  "target",      "reset"};
    for (const auto &[key, value] : parsed->items())
        if (std::find(std::begin(known), std::end(known), key) == std::end(known))
            faults.push_back({core::path_key("$", key), "is no option of a projection"});
    core::ObjectReader reader(*parsed, "$", faults);
    Options o;
    if (std::optional<int> batch_size = reader.integer("batch_size", 1, 100000)) {
        o.batch_size = *batch_size;
        o.batch_may_grow = false;
    }
    o.max_retries = reader.integer("max_retries", 0, 1000).value_or(o.max_retries);
    o.retry_delay_ms = static_cast<int64>(reader.duration("retry_delay").value_or(1000));
    o.timeout_ms = static_cast<int>(std::min(reader.duration("timeout").value_or(30000), 2147483000.0));
    o.park = reader.choice<bool>("on_error", {{"stop", false}, {"park", true}}, false);
    if (core::Member start = reader.find({"start_from"})) {
        if (start.value->is_number_unsigned())
            o.start_from = std::to_string(start.value->get<uint64>());
        else if (start.value->is_string())
            o.start_from = start.value->get<std::string>();
        else
            faults.push_back({start.path, "must be beginning, end, a position or a time"});
    }
    o.target = reader.text("target");
    o.reset = reader.text("reset");
    if (o.timeout_ms == 0)
        faults.push_back({"$.timeout", "must be positive"});
    if (!faults.empty())
        refuse(faults);
    return o;
}

// --- partitions ---

namespace {

// A path that looks at nothing but the event's data, as a path over the data alone: no object of the event has to be
// made then. As jsonpath_out writes paths, every name is quoted, and a lax path has no prefix. (An id in keyvalue()
// counts from the root.)
std::optional<std::string> below_data(Datum path) {
    constexpr std::string_view data = "$.\"data\"";
    std::string text = pg::call([&]() noexcept { return DatumGetCString(DirectFunctionCall1(jsonpath_out, path)); });
    if (!text.starts_with(data) || text.find("keyvalue") != std::string::npos)
        return std::nullopt;
    std::string rest = text.substr(data.size());
    if (!rest.empty() && rest.front() != '.' && rest.front() != '[' && rest.front() != '?')
        return std::nullopt; // part of an expression
    bool quoted = false;
    for (size_t i = 0; i < rest.size(); i++) {
        if (quoted && rest[i] == '\\')
            i++;
        else if (rest[i] == '"')
            quoted = !quoted;
        else if (!quoted && rest[i] == '$')
            return std::nullopt; // looks at the whole event again
    }
    return "$" + rest;
}

} // namespace

Partitioner::Partitioner(const Projection &projection) {
    if (!projection.partition_by)
        return;
    if (*projection.partition_by == "stream") {
        by_ = By::stream;
    } else if (*projection.partition_by == "category") {
        by_ = By::category;
    } else {
        by_ = By::path;
        const char *text = projection.partition_by->c_str();
        path_ = pg::call([&]() noexcept { return DirectFunctionCall1(jsonpath_in, CStringGetDatum(text)); });
        if (std::optional<std::string> below = below_data(path_)) {
            const char *rest = below->c_str();
            path_in_data_ =
                pg::call([&]() noexcept { return DirectFunctionCall1(jsonpath_in, CStringGetDatum(rest)); });
        }
    }
}

// Errors of the path are no match.
std::string Partitioner::of(const store::EventRow &event) const {
    switch (by_) {
    case By::nothing:
        return "";
    case By::stream:
        return std::string(event.stream);
    case By::category:
        return std::string(event.category);
    case By::path:
        break;
    }
    pg::MemoryScope scratch("chronicle partition");
    Datum object = path_in_data_ != 0 ? event.data : store::event_object(event);
    Datum path = path_in_data_ != 0 ? path_in_data_ : path_;
    Datum found = pg::call([&]() noexcept {
        LOCAL_FCINFO(fcinfo, 4);
        InitFunctionCallInfoData(*fcinfo, nullptr, 4, InvalidOid, nullptr, nullptr);
        fcinfo->args[0] = {object, false};
        fcinfo->args[1] = {path, false};
        fcinfo->args[2] = {DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), false};
        fcinfo->args[3] = {BoolGetDatum(true), false};
        Datum first = jsonb_path_query_first(fcinfo);
        if (fcinfo->isnull)
            return Datum(0);
        // As ->> shows it: a string without its quotes.
        Jsonb *value = DatumGetJsonbP(first);
        JsonbValue scalar;
        if (JB_ROOT_IS_SCALAR(value) && JsonbExtractScalar(&value->root, &scalar) && scalar.type == jbvString)
            return PointerGetDatum(cstring_to_text_with_len(scalar.val.string.val, scalar.val.string.len));
        return DirectFunctionCall1(textin, DirectFunctionCall1(jsonb_out, first));
    });
    return found == 0 ? "" : pg::to_string(found);
}

// --- the cache ---

const std::vector<ProjectionPointer> &all_projections() {
    uint64 generation = table.generation();
    if (cache && cache->generation == generation)
        return cache->all;
    static pg::Statement find{
        "SELECT p.projection_id, p.name, p.owner, p.mode, p.kind, p.handler, p.statement, p.search_path, p.categories, "
        "p.streams, p.types, p.stream_regex, p.initial_state, p.partition_by, p.options, g.status = 'running', "
        "g.generation, g.origin, g.position FROM chronicle_data.projection p JOIN chronicle_data.projection_progress g "
        "USING (projection_id) ORDER BY p.projection_id"};
    std::vector<ProjectionPointer> all;
    {
        pg::LatestSnapshotScope snapshot;
        access::EngineScope engine;
        pg::Values none;
        pg::Rows rows = find.run(none, true);
        for (uint64 i = 0; i < rows.count; i++)
            all.push_back(read(rows[i]));
    }
    if (!cache)
        cache = new Cache();
    cache->generation = generation;
    cache->all = std::move(all);
    return cache->all;
}

ProjectionPointer find_projection(int64 id) {
    for (const ProjectionPointer &p : all_projections())
        if (p->id == id)
            return p;
    return nullptr;
}

void projections_changed() { table.changed(); }

} // namespace chronicle::projection
