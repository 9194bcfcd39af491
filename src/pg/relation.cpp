#include "pg/relation.hpp"

#include "compat/compat.hpp"

extern "C" {
#include "access/relscan.h"
#include "access/tableam.h"
#include "utils/lsyscache.h"
}

namespace chronicle::pg {

Table::Table(Oid oid, LOCKMODE mode)
    : relation_(call([&]() noexcept { return table_open(oid, mode); })), exceptions_(std::uncaught_exceptions()) {}

Table::~Table() {
    if (!unwinding(exceptions_))
        table_close(relation_, NoLock);
}

TableWriter::TableWriter(Oid table) : table_(table, RowExclusiveLock), exceptions_(std::uncaught_exceptions()) {
    call([&]() noexcept {
        estate_ = CreateExecutorState();
        result_ = makeNode(ResultRelInfo);
        InitResultRelInfo(result_, table_.get(), 1, nullptr, 0);
        ExecOpenIndices(result_, false);
    });
}

TableWriter::~TableWriter() {
    if (unwinding(exceptions_))
        return;
    for (TupleTableSlot *slot : slots_)
        ExecDropSingleTupleTableSlot(slot);
    ExecCloseIndices(result_);
    FreeExecutorState(estate_);
}

void TableWriter::add(const Datum *values, const bool *nulls) {
    if (used_ == static_cast<int>(slots_.size()))
        slots_.push_back(call([&]() noexcept { return table_slot_create(table_.get(), nullptr); }));
    TupleTableSlot *slot = slots_[static_cast<size_t>(used_++)];
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
    call([&]() noexcept {
        CommandId command = GetCurrentCommandId(true);
        if (count == 1)
            table_tuple_insert(table_.get(), slots_[0], command, 0, nullptr);
        else
            table_multi_insert(table_.get(), slots_.data(), count, command, 0, nullptr);
        for (int i = 0; i < count; i++) {
            compat::insert_index_tuples(result_, slots_[static_cast<size_t>(i)], estate_);
            ResetPerTupleExprContext(estate_);
        }
    });
}

IndexReader::IndexReader(Oid table, Oid index, Snapshot snapshot)
    : table_(table, AccessShareLock), snapshot_(snapshot), memory_(CurrentMemoryContext),
      exceptions_(std::uncaught_exceptions()) {
    call([&]() noexcept {
        index_ = index_open(index, AccessShareLock);
        slot_ = table_slot_create(table_.get(), nullptr);
    });
}

IndexReader::~IndexReader() {
    if (unwinding(exceptions_))
        return;
    if (scan_)
        index_endscan(scan_);
    ExecDropSingleTupleTableSlot(slot_);
    index_close(index_, NoLock);
}

void IndexReader::key(int column, int strategy, Oid procedure, Datum value, Oid collation) {
    call([&]() noexcept {
        ScanKeyEntryInitialize(&keys_[key_count_], 0, static_cast<AttrNumber>(column),
                               static_cast<StrategyNumber>(strategy), InvalidOid, collation, procedure, value);
    });
    key_count_++;
}

// The scan keeps what it allocates between calls, so it always runs in the context that the reader was made in.
TupleTableSlot *IndexReader::next(bool backwards) {
    bool found = call([&]() noexcept {
        MemoryContext caller = MemoryContextSwitchTo(memory_);
        if (!scan_) {
            scan_ = compat::begin_index_scan(table_.get(), index_, snapshot_, key_count_);
            index_rescan(scan_, keys_, key_count_, nullptr, 0);
        }
        bool more = index_getnext_slot(scan_, backwards ? BackwardScanDirection : ForwardScanDirection, slot_);
        if (more)
            slot_getallattrs(slot_); // column() then needs no guard
        MemoryContextSwitchTo(caller);
        return more;
    });
    return found ? slot_ : nullptr;
}

Datum IndexReader::column(int attribute, bool *is_null) const {
    if (attribute < 1)
        return call([&]() noexcept { return slot_getsysattr(slot_, attribute, is_null); });
    *is_null = slot_->tts_isnull[attribute - 1];
    return slot_->tts_values[attribute - 1];
}

} // namespace chronicle::pg
