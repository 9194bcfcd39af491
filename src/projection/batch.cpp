// Events are collected, then applied in one go; what the projection keeps and its owner's code decide how:
//
//   handler     the function is called for each event
//   state       each event's partition is found as it is added; then: lock the partitions (inline only, in the order of
//               their keys) → load their states → call the function for each event, with the state before it → store
//   statement   events go into a tuplestore, which the statement sees as the relation new_events; its plan is kept by
//               this process until the projection changes (on a staging table it is made for each batch)
//
// The owner's code runs in a security-restricted operation; states are loaded and stored by the engine, outside of it.
// `current_` follows the event that the code works on: an error is told with it, parked with it.
#include "projection/batch.hpp"

#include "access/access.hpp"
#include "catalog/objects.hpp"
#include "pg/lock.hpp"
#include "projection/staging.hpp"
#include "worker/source.hpp"

extern "C" {
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/typcache.h"
}

namespace chronicle::projection {

namespace {

// Of varlena values as they are stored; false also when it is not known.
bool same_bytes(Datum a, Datum b) {
    const void *x = DatumGetPointer(a), *y = DatumGetPointer(b);
    if (VARATT_IS_COMPRESSED(x) || VARATT_IS_EXTERNAL(x) || VARSIZE_ANY_EXHDR(x) != VARSIZE_ANY_EXHDR(y))
        return false;
    return memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x)) == 0;
}

constexpr size_t longest_partition = 1024; // bytes; what an index takes

constexpr int store_kilobytes = 64 * 1024; // a full batch of a statement stays in memory

// --- statements: prepared once per process ---

struct Prepared {
    ProjectionPointer projection; // keeps what the plan was made for alive
    SPIPlanPtr plan;
};
std::unordered_map<int64, Prepared> *plans = nullptr;

void register_events(TupleDesc columns, Tuplestorestate *store, int64 count) {
    pg::call([&]() noexcept {
        EphemeralNamedRelation relation =
            static_cast<EphemeralNamedRelation>(palloc0(sizeof(EphemeralNamedRelationData)));
        relation->md.name = pstrdup("new_events");
        relation->md.reliddesc = InvalidOid;
        relation->md.tupdesc = columns;
        relation->md.enrtype = ENR_NAMED_TUPLESTORE;
        relation->md.enrtuples = static_cast<double>(count);
        relation->reldata = store;
        int code = SPI_register_relation(relation);
        if (code < 0)
            elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(code));
    });
}

SPIPlanPtr prepare(const std::string &statement) {
    const char *text = statement.c_str();
    SPIPlanPtr plan = pg::call([&]() noexcept { return SPI_prepare(text, 0, nullptr); });
    if (!plan)
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED, {.message = std::string("a projection cannot run this statement: ") +
                                                             SPI_result_code_string(SPI_result)});
    List *sources = SPI_plan_get_plan_sources(plan);
    if (list_length(sources) != 1)
        pg::raise(ERRCODE_SYNTAX_ERROR,
                  {.message = "statement must be one SQL statement, not " + std::to_string(list_length(sources)),
                   .hint = "Several steps go into one WITH statement, or into a handler."});
    List *queries = static_cast<CachedPlanSource *>(linitial(sources))->query_list;
    for (int i = 0; i < list_length(queries); i++)
        if (static_cast<Query *>(list_nth(queries, i))->commandType == CMD_UTILITY)
            pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                      {.message = "statement must be SELECT, INSERT, UPDATE, DELETE or MERGE"});
    return plan;
}

// A statement may append, and so run others and itself again: what is replaced meanwhile is freed when none runs.
std::vector<SPIPlanPtr> *retired = nullptr;
int executing = 0;

class Executing {
public:
    Executing() { executing++; }
    ~Executing() { executing--; }
    Executing(const Executing &) = delete;
    Executing &operator=(const Executing &) = delete;
};

void retire(SPIPlanPtr plan) {
    if (!retired)
        retired = new std::vector<SPIPlanPtr>();
    retired->push_back(plan);
}

void free_retired() {
    if (executing > 0 || !retired)
        return;
    for (SPIPlanPtr plan : std::exchange(*retired, {}))
        pg::call([&]() noexcept { SPI_freeplan(plan); });
}

// Inside an SPI connection that knows new_events.
SPIPlanPtr plan_of(const Projection &projection) {
    if (OidIsValid(projection.staging)) {
        SPIPlanPtr plan = prepare(*projection.statement);
        check_relations(plan, projection);
        return plan;
    }
    if (!plans)
        plans = new std::unordered_map<int64, Prepared>();
    ProjectionPointer current = find_projection(projection.id);
    auto found = plans->find(projection.id);
    if (found != plans->end() && found->second.projection == current && current.get() == &projection)
        return found->second.plan;
    if (found != plans->end()) {
        retire(found->second.plan);
        plans->erase(found);
    }
    free_retired();
    SPIPlanPtr plan = prepare(*projection.statement);
    if (current.get() == &projection) {
        pg::call([&]() noexcept { SPI_keepplan(plan); });
        plans->emplace(projection.id, Prepared{current, plan});
    }
    return plan;
}

TupleDesc event_columns() {
    Oid type = catalog::objects().event_type;
    return pg::call([&]() noexcept { return lookup_rowtype_tupdesc_copy(type, -1); });
}

Datum text_array(const std::vector<std::string> &texts) {
    std::vector<Datum> elements;
    for (const std::string &text : texts)
        elements.push_back(pg::make_text(text));
    Datum *values = elements.data();
    int count = static_cast<int>(elements.size());
    return pg::call(
        [&]() noexcept { return PointerGetDatum(construct_array(values, count, TEXTOID, -1, false, TYPALIGN_INT)); });
}

Datum array_of(std::vector<Datum> &elements, Oid type) {
    Datum *values = elements.data();
    int count = static_cast<int>(elements.size());
    bool is_long = type == INT8OID;
    return pg::call([&]() noexcept {
        return PointerGetDatum(
            construct_array(values, count, type, is_long ? 8 : -1, is_long, is_long ? TYPALIGN_DOUBLE : TYPALIGN_INT));
    });
}

} // namespace

Oid owner_of(const Projection &projection) {
    Oid owner = access::find_role(projection.owner);
    if (!OidIsValid(owner))
        pg::raise(ERRCODE_UNDEFINED_OBJECT,
                  {.message = "the projection's owner, role \"" + projection.owner + "\", does not exist"});
    return owner;
}

static void prepare_only(const std::string &statement, const Projection *staged) {
    pg::Spi spi;
    TupleDesc columns = event_columns();
    Tuplestorestate *store = pg::call([]() noexcept { return tuplestore_begin_heap(true, false, work_mem); });
    register_events(columns, store, 0);
    SPIPlanPtr plan = prepare(statement);
    if (staged)
        check_relations(plan, *staged);
    pg::call([&]() noexcept { tuplestore_end(store); });
}

void check_statement(const std::string &statement) { prepare_only(statement, nullptr); }
void check_statement(const Projection &staged) { prepare_only(*staged.statement, &staged); }

Batch::Batch(const Projection &projection)
    : projection_(projection), partitioner_(projection), owner_(owner_of(projection)), memory_(CurrentMemoryContext),
      events_memory_(pg::call([&]() noexcept {
          return GenerationContextCreate(CurrentMemoryContext, "chronicle events", ALLOCSET_DEFAULT_SIZES);
      })),
      exceptions_(std::uncaught_exceptions()) {
    if (projection.kind != Kind::statement)
        return;
    columns_ = event_columns();
    int kilobytes = std::max(work_mem, store_kilobytes);
    store_ = pg::call([&]() noexcept { return tuplestore_begin_heap(true, false, kilobytes); });
}

Batch::~Batch() {
    if (pg::unwinding(exceptions_))
        return;
    if (store_)
        tuplestore_end(store_);
    MemoryContextDelete(events_memory_);
}

// A copy in memory of the batch; what is as it was in the event before is not copied again.
store::EventRow Batch::hold(const store::EventRow &event) {
    pg::MemorySwitch to_events(events_memory_);
    const store::EventRow *former = items_.empty() ? nullptr : &items_.back().event;
    auto text = [&](std::string_view value, std::string_view store::EventRow::*member) {
        if (former && former->*member == value)
            return former->*member;
        char *copy = pg::call([&]() noexcept { return pnstrdup(value.data(), value.size()); });
        return std::string_view(copy, value.size());
    };
    auto datum = [&](Datum value, Datum store::EventRow::*member) {
        return former && same_bytes(value, former->*member) ? former->*member : pg::copy_datum(value, -1);
    };
    store::EventRow held = event;
    held.stream = text(event.stream, &store::EventRow::stream);
    held.category = text(event.category, &store::EventRow::category);
    held.type = text(event.type, &store::EventRow::type);
    held.data = datum(event.data, &store::EventRow::data);
    held.metadata = datum(event.metadata, &store::EventRow::metadata);
    held.actor = datum(event.actor, &store::EventRow::actor);
    held.event_id = pg::copy_datum(event.event_id, sizeof(pg::Uuid));
    return held;
}

void Batch::add(const store::EventRow &event) {
    count_++;
    positions_.push_back(event.position);
    if (projection_.options.park)
        parking_.push_back(parking_partition(event));
    bytes_ += VARSIZE_ANY(DatumGetPointer(event.data)) + 200;
    if (store_) {
        Datum values[store::event_columns];
        bool nulls[store::event_columns];
        composer_.fill(event, values, nulls);
        Tuplestorestate *store = store_;
        TupleDesc columns = columns_;
        pg::call([&]() noexcept { tuplestore_putvalues(store, columns, values, nulls); });
        return;
    }
    std::string name = projection_.kind == Kind::state ? partitioner_.of(event) : "";
    size_t partition = items_.empty() ? partitions_.size() : items_.back().partition;
    if (partition == partitions_.size() || partitions_[partition].name != name) {
        auto [known, added] = partition_of_.try_emplace(name, partitions_.size());
        if (added)
            partitions_.push_back({std::move(name)});
        partition = known->second;
    }
    items_.push_back({hold(event), partition});
}

std::string Batch::parking_partition(const store::EventRow &event) const {
    bool by_stream = !projection_.partition_by && projection_.kind != Kind::state;
    std::string partition = by_stream ? std::string(event.stream) : partitioner_.of(event);
    return partition.size() <= longest_partition ? partition : "(long) " + std::to_string(pg::lock_key(partition));
}

void Batch::refuse(int sqlstate, pg::ErrorText text) {
    called_ = true;
    current_ = 0;
    pg::raise(sqlstate, std::move(text));
}

// --- applying ---

void Batch::lock_partitions() const {
    std::vector<uint64> keys;
    for (const Partition &p : partitions_)
        keys.push_back(pg::lock_key(std::to_string(projection_.id) + "/" + p.name));
    std::sort(keys.begin(), keys.end());
    for (uint64 key : keys)
        pg::lock(pg::LockKind::projection_state, key);
}

void Batch::load_states(int generation) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TEXTARRAYOID};
    static pg::Statement find{
        "SELECT s.partition, s.state FROM unnest($3) AS n (partition) CROSS JOIN LATERAL ("
        "SELECT * FROM chronicle_data.projection_state AS s WHERE s.projection_id = $1 AND s.generation = $2 "
        "AND s.partition = n.partition OFFSET 0) AS s", // each by its key, whatever the statistics say
        types};
    std::vector<std::string> names;
    for (const Partition &p : partitions_)
        names.push_back(p.name);
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.int8(projection_.id).int4(generation).add(text_array(names)));
    pg::MemorySwitch to_batch(memory_);
    for (uint64 i = 0; i < rows.count; i++) {
        bool is_null;
        partitions_[partition_of_.at(rows[i].text(1))].state = pg::copy_datum(rows[i].datum(2, &is_null), -1);
    }
}

void Batch::save_states(int generation) {
    static constexpr Oid types[] = {INT8OID, INT4OID, TEXTARRAYOID, JSONBARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
    static pg::Statement upsert{
        "INSERT INTO chronicle_data.projection_state AS s (projection_id, generation, partition, state, position, "
        "events) SELECT $1, $2, t.partition, t.state, t.position, t.events "
        "FROM unnest($3, $4, $5, $6) AS t (partition, state, position, events) "
        "ON CONFLICT (projection_id, generation, partition) DO UPDATE SET state = excluded.state, "
        "position = excluded.position, events = s.events + excluded.events, updated_at = excluded.updated_at",
        types};
    std::vector<std::string> names;
    std::vector<Datum> states, positions, events;
    for (const Partition &p : partitions_) {
        names.push_back(p.name);
        states.push_back(p.state);
        positions.push_back(Int64GetDatum(p.position));
        events.push_back(Int64GetDatum(p.events));
    }
    access::EngineScope engine;
    pg::Values values;
    values.int8(projection_.id).int4(generation).add(text_array(names)).add(array_of(states, JSONBOID));
    upsert.run(values.add(array_of(positions, INT8OID)).add(array_of(events, INT8OID)));
}

void Batch::call_handler() {
    access::OwnerScope owner(owner_, projection_.search_path);
    pg::UserFunction handler(*projection_.handler, handler_signature(), owner_);
    pg::MemoryScope memory("chronicle handler");
    called_ = true;
    for (const Item &item : items_) {
        current_++;
        NullableDatum argument{composer_.compose_for_call(item.event), false};
        handler.call(&argument);
        memory.reset();
        pg::check_interrupts();
        worker::yield_processor();
    }
}

void Batch::fold() {
    std::string initial = projection_.initial_state.value_or("{}");
    access::OwnerScope owner(owner_, projection_.search_path);
    pg::UserFunction handler(*projection_.handler, state_signature(), owner_);
    for (Partition &p : partitions_)
        if (p.state == 0)
            p.state = pg::make_jsonb(initial);
    pg::MemoryScope memory("chronicle handler");
    called_ = true;
    for (const Item &item : items_) {
        current_++;
        Partition &p = partitions_[item.partition];
        if (p.name.size() > longest_partition)
            pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                      {.message = "the partition of this event has " + std::to_string(p.name.size()) +
                                  " bytes, more than " + std::to_string(longest_partition),
                       .hint = "Choose a shorter key in partition_by."});
        worker::yield_processor();
        NullableDatum arguments[] = {{p.state, false}, {composer_.compose_for_call(item.event), false}};
        NullableDatum result = handler.call(arguments);
        if (result.isnull)
            pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED,
                      {.message = "handler " + *projection_.handler + " returned NULL instead of a state",
                       .hint = "Return the state as it was for events that do not change it."});
        if (result.value != p.state) {
            Datum former = p.state;
            pg::MemorySwitch to_batch(memory_);
            p.state = pg::copy_datum(result.value, -1);
            pfree(DatumGetPointer(former));
        }
        p.position = positions_[static_cast<size_t>(current_)];
        p.events++;
        memory.reset();
        pg::check_interrupts();
    }
}

void Batch::clear_events() {
    items_.clear();
    MemoryContextReset(events_memory_);
    positions_.clear();
    count_ = 0;
    bytes_ = 0;
}

void Batch::fold_in_memory() {
    current_ = -1;
    pg::MemorySwitch to_batch(memory_);
    fold();
    clear_events();
}

Datum Batch::take_state(const std::string &partition) {
    auto found = partition_of_.find(partition);
    return found == partition_of_.end() ? 0 : std::exchange(partitions_[found->second].state, 0);
}

std::vector<std::pair<std::string, Datum>> Batch::other_states() {
    std::vector<std::pair<std::string, Datum>> left;
    for (Partition &p : partitions_)
        if (p.state != 0)
            left.emplace_back(p.name, p.state);
    return left;
}

void Batch::run_statement() {
    access::OwnerScope owner(owner_, projection_.search_path);
    pg::Spi spi;
    register_events(columns_, store_, count_);
    SPIPlanPtr plan = plan_of(projection_);
    Executing running;
    called_ = true;
    current_ = count_ == 1 ? 0 : -1;
    int code = pg::call([&]() noexcept {
        SPIExecuteOptions options{};
        options.dest = None_Receiver;
        return SPI_execute_plan_extended(plan, &options);
    });
    if (code < 0)
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                  {.message = std::string("a projection cannot run this statement: ") + SPI_result_code_string(code)});
}

void Batch::apply(int generation, bool lock) {
    if (count_ == 0)
        return;
    switch (projection_.kind) {
    case Kind::handler:
        call_handler();
        break;
    case Kind::state:
        if (lock)
            lock_partitions();
        load_states(generation);
        fold();
        current_ = -1;
        save_states(generation);
        break;
    case Kind::statement:
        run_statement();
        break;
    }
    current_ = -1;
}

} // namespace chronicle::projection
