#include "pg/relation.hpp"

#include "compat/compat.hpp"

extern "C" {
#include "access/heaptoast.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
}

namespace chronicle::pg {

Table::Table(Oid oid, LOCKMODE mode)
    : relation_(call([&]() noexcept { return table_open(oid, mode); })), exceptions_(std::uncaught_exceptions()) {}

Table::~Table() {
    if (!unwinding(exceptions_))
        table_close(relation_, NoLock);
}

// Lives as long as the process, in a memory context of its own; holds no relation and no pin between two writers.
struct TableWriter::State {
    explicit State(Oid of) : table(of) {}
    Oid table;
    EState *estate = nullptr;
    ResultRelInfo *result = nullptr;
    std::vector<Oid> indexes;
    TupleDesc columns = nullptr; // a copy that nobody counts references to
    std::vector<TupleTableSlot *> slots;
    bool stale = false; // the table or its indexes have changed
    bool in_use = false;
};

namespace {

std::vector<TableWriter::State *> *states = nullptr;

// Never raises.
void on_relation_change(Datum, Oid relation) {
    for (TableWriter::State *state : *states)
        if (!OidIsValid(relation) || relation == state->table)
            state->stale = true;
}

void forget(TableWriter::State *state) {
    std::erase(*states, state);
    if (state->estate)
        MemoryContextDelete(state->estate->es_query_cxt);
    delete state;
}

// Of the table, not in use by a writer further down the stack (a trigger may append), and made anew after a change.
TableWriter::State *find_state(Oid table) {
    if (!states) {
        states = new std::vector<TableWriter::State *>();
        call([]() noexcept { CacheRegisterRelcacheCallback(on_relation_change, Datum(0)); });
    }
    auto found = std::find_if(states->begin(), states->end(),
                              [&](TableWriter::State *state) { return state->table == table && !state->in_use; });
    if (found != states->end() && !(*found)->stale)
        return *found;
    if (found != states->end())
        forget(*found);
    states->push_back(new TableWriter::State(table));
    return states->back();
}

// Opens the indexes too. Below the transaction's context until it is complete: an error leaves nothing.
void make(TableWriter::State *state, Relation table) {
    call([&]() noexcept {
        state->estate = nullptr;
        EState *estate = CreateExecutorState();
        MemoryContext caller = MemoryContextSwitchTo(estate->es_query_cxt);
        state->result = makeNode(ResultRelInfo);
        InitResultRelInfo(state->result, table, 1, nullptr, 0);
        ExecOpenIndices(state->result, false);
        state->columns = CreateTupleDescCopy(RelationGetDescr(table));
        MemoryContextSwitchTo(caller);
        MemoryContextSetParent(estate->es_query_cxt, TopMemoryContext);
        state->estate = estate;
    });
    state->slots.clear();
    state->indexes.clear();
    for (int i = 0; i < state->result->ri_NumIndices; i++)
        state->indexes.push_back(RelationGetRelid(state->result->ri_IndexRelationDescs[i]));
}

void reopen(TableWriter::State *state, Relation table) {
    state->result->ri_RelationDesc = table;
    call([&]() noexcept {
        for (size_t i = 0; i < state->indexes.size(); i++)
            state->result->ri_IndexRelationDescs[i] = index_open(state->indexes[i], RowExclusiveLock);
    });
}

// --- where a row goes ---
//
// Rows of a log differ in length, so every full page keeps some room for a short one. As soon as VACUUM has told the
// free space map of it, PostgreSQL puts new rows there: each on a page of its own that nobody has touched for long,
// which costs a full-page image after every checkpoint, and scatters what belongs together. So `together` asks the map
// only for pages that are worth it (VACUUM has emptied them after a removal), and keeps it true of those that it fills.

constexpr Size worth_it = BLCKSZ / 2;
constexpr int outdated_limit = 8; // entries of the map that are tried before a new page is made

Size room_on(Relation table, BlockNumber block) {
    Buffer buffer = ReadBuffer(table, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    Page page = BufferGetPage(buffer);
    Size room = PageIsNew(page) ? BLCKSZ - SizeOfPageHeaderData : PageGetHeapFreeSpace(page);
    UnlockReleaseBuffer(buffer);
    return room;
}

// The length of the row on its page, or a little more: what is long may yet be compressed or moved out.
Size length_of(TupleTableSlot *slot) {
    bool must_free;
    HeapTuple tuple = ExecFetchSlotHeapTuple(slot, true, &must_free);
    Size length = MAXALIGN(std::min<Size>(tuple->t_len, TOAST_TUPLE_TARGET));
    if (must_free)
        heap_freetuple(tuple);
    return length;
}

// The target page has room for the row, or it is one that is worth it, or there is none, or a full one: then the insert
// takes the last page or makes a new one. Others may be faster: then the insert makes a new one.
void aim(Relation table, TupleTableSlot *slot) {
    BlockNumber target = RelationGetTargetBlock(table);
    BlockNumber next;
    if (target == InvalidBlockNumber)
        next = GetPageWithFreeSpace(table, worth_it);
    else if (Size room = room_on(table, target); room >= length_of(slot))
        return;
    else
        next = RecordAndGetPageWithFreeSpace(table, target, room, worth_it);
    for (int i = 0; next != InvalidBlockNumber && i < outdated_limit; i++) {
        Size room = next < RelationGetNumberOfBlocks(table) ? room_on(table, next) : 0;
        if (room >= worth_it) {
            RelationSetTargetBlock(table, next);
            return;
        }
        next = RecordAndGetPageWithFreeSpace(table, next, room, worth_it);
    }
}

// Options of the insert.
int place(Relation table, TupleTableSlot *slot, Placement placement) {
    if (placement == Placement::anywhere || table->rd_rel->relam != HEAP_TABLE_AM_OID)
        return 0;
    aim(table, slot);
    return TABLE_INSERT_SKIP_FSM;
}

} // namespace

TableWriter::TableWriter(Oid table, Placement placement)
    : table_(table, RowExclusiveLock), state_(find_state(table)), placement_(placement),
      exceptions_(std::uncaught_exceptions()) {
    if (state_->estate)
        reopen(state_, table_.get());
    else
        make(state_, table_.get());
    state_->in_use = true;
}

TableWriter::~TableWriter() {
    state_->in_use = false;
    if (unwinding(exceptions_))
        return;
    ExecCloseIndices(state_->result);
    if (state_->stale)
        forget(state_);
}

void TableWriter::add(const Datum *values, const bool *nulls) {
    if (used_ == static_cast<int>(state_->slots.size()))
        state_->slots.push_back(call([&]() noexcept {
            MemoryContext caller = MemoryContextSwitchTo(state_->estate->es_query_cxt);
            TupleTableSlot *made = MakeSingleTupleTableSlot(state_->columns, table_slot_callbacks(table_.get()));
            MemoryContextSwitchTo(caller);
            return made;
        }));
    TupleTableSlot *slot = state_->slots[static_cast<size_t>(used_++)];
    call([&]() noexcept {
        ExecClearTuple(slot);
        size_t columns = static_cast<size_t>(slot->tts_tupleDescriptor->natts);
        memcpy(slot->tts_values, values, sizeof(Datum) * columns);
        memcpy(slot->tts_isnull, nulls, sizeof(bool) * columns);
        ExecStoreVirtualTuple(slot);
        slot->tts_tableOid = RelationGetRelid(table_.get());
    });
    if (used_ == capacity)
        flush();
}

void TableWriter::flush() {
    if (used_ == 0)
        return;
    int count = std::exchange(used_, 0);
    TupleTableSlot **slots = state_->slots.data();
    call([&]() noexcept {
        CommandId command = GetCurrentCommandId(true);
        if (count == 1)
            table_tuple_insert(table_.get(), slots[0], command, place(table_.get(), slots[0], placement_), nullptr);
        else
            table_multi_insert(table_.get(), slots, count, command, 0, nullptr);
        for (int i = 0; i < count; i++) {
            compat::insert_index_tuples(state_->result, slots[i], state_->estate);
            ResetPerTupleExprContext(state_->estate);
            ExecClearTuple(slots[i]);
        }
    });
}

void TableWriter::next_command() {
    call([]() noexcept { CommandCounterIncrement(); });
}

RowReader::RowReader(Oid table)
    : table_(table, AccessShareLock), slot_(call([&]() noexcept { return table_slot_create(table_.get(), nullptr); })),
      exceptions_(std::uncaught_exceptions()) {}

RowReader::~RowReader() {
    if (!unwinding(exceptions_))
        ExecDropSingleTupleTableSlot(slot_);
}

Datum RowReader::system_column(int attribute, bool *is_null) const {
    return call([&]() noexcept { return slot_getsysattr(slot_, attribute, is_null); });
}

IndexReader::IndexReader(Oid table, Oid index, Snapshot snapshot)
    : RowReader(table), index_(call([&]() noexcept { return index_open(index, AccessShareLock); })),
      snapshot_(snapshot), memory_(CurrentMemoryContext) {}

IndexReader::~IndexReader() {
    if (unwinding(exceptions_))
        return;
    if (scan_)
        index_endscan(scan_);
    index_close(index_, NoLock);
}

void IndexReader::key(int column, int strategy, Oid procedure, Datum value, Oid collation) {
    call([&]() noexcept {
        ScanKeyEntryInitialize(&keys_[key_count_], 0, static_cast<AttrNumber>(column),
                               static_cast<StrategyNumber>(strategy), InvalidOid, collation, procedure, value);
    });
    key_count_++;
}

void IndexReader::restart() {
    key_count_ = 0;
    started_ = false;
}

// The scan keeps what it allocates between calls, so it always runs in the context that the reader was made in.
TupleTableSlot *IndexReader::next(bool backwards) {
    bool found = call([&]() noexcept {
        MemoryContext caller = MemoryContextSwitchTo(memory_);
        if (!scan_)
            scan_ = compat::begin_index_scan(table_.get(), index_, snapshot_, key_count_);
        if (!std::exchange(started_, true))
            index_rescan(scan_, keys_, key_count_, nullptr, 0);
        bool more = index_getnext_slot(scan_, backwards ? BackwardScanDirection : ForwardScanDirection, slot_);
        if (more)
            slot_getallattrs(slot_); // column() then needs no guard
        MemoryContextSwitchTo(caller);
        return more;
    });
    return found ? slot_ : nullptr;
}

bool PlaceReader::read(ItemPointerData place, Snapshot snapshot) {
    return call([&]() noexcept {
        // VACUUM may have cut the end of the table off since the place was seen.
        if (ItemPointerGetBlockNumber(&place) >= blocks_)
            blocks_ = RelationGetNumberOfBlocks(table_.get());
        if (ItemPointerGetBlockNumber(&place) >= blocks_ ||
            !table_tuple_fetch_row_version(table_.get(), &place, snapshot, slot_))
            return false;
        slot_getallattrs(slot_);
        return true;
    });
}

} // namespace chronicle::pg
