// Events that are applied together, and the three ways to apply them.
#pragma once

#include "projection/projection.hpp"
#include "store/event_datum.hpp"

extern "C" {
#include "access/htup_details.h"
#include "utils/tuplestore.h"
}

namespace chronicle::projection {

/// Collects events, then applies them in order, as the projection's owner in a security-restricted operation. Lives in
/// the memory context that is current when it is made, and not longer than the transaction. Errors of the user's code
/// pass; failing_position() then tells at which event (0: not known).
class Batch {
public:
    explicit Batch(const Projection &projection);
    ~Batch();
    Batch(const Batch &) = delete;
    Batch &operator=(const Batch &) = delete;

    /// A copy of the event. As the user whose rights count for reading it.
    void add(const store::EventRow &event);
    /// Enough for one batch, whatever its number of events.
    bool is_full() const { return bytes_ >= byte_limit; }
    int64 size() const { return count_; }
    int64 first_position() const { return positions_.front(); }
    /// State kind: folds what was added since the last time into states that begin anew and are stored nowhere.
    void fold_in_memory();
    /// The state of a partition that was folded in memory (0: none); each is given once. Then those that are left.
    Datum take_state(const std::string &partition);
    std::vector<std::pair<std::string, Datum>> other_states();

    /// Runs the handler or the statement over all of them. `generation` of states that are read and written; `lock`:
    /// the partitions are locked first (inline: other transactions work on them, too).
    void apply(int generation, bool lock);
    /// Raises an error as if the first event had caused it.
    [[noreturn]] void refuse(int sqlstate, pg::ErrorText text);
    int64 failing_position() const { return current_ < 0 ? 0 : positions_[static_cast<size_t>(current_)]; }
    /// How many events of the batch came before that one, and its partition for parking.
    int64 failing_index() const { return std::max<int64>(current_, 0); }
    const std::string &failing_partition() const { return parking_[static_cast<size_t>(std::max<int64>(current_, 0))]; }
    /// True until the first event is handed to the user's code: what fails before is no event's fault.
    bool parks() const { return projection_.options.park; }
    bool in_set_up() const { return !called_; }
    /// The partition with which an event would be parked; asked for before add() by those who park.
    std::string parking_partition(const store::EventRow &event) const;

private:
    static constexpr size_t byte_limit = 16 * 1024 * 1024;
    struct Item {
        store::EventRow event; // in memory of the batch
        size_t partition; // index into partitions_
    };
    struct Partition {
        std::string name;
        Datum state = 0; // jsonb; 0: none yet
        int64 position = 0, events = 0;
    };
    store::EventRow hold(const store::EventRow &event);
    void clear_events();
    void lock_partitions() const;
    void load_states(int generation);
    void save_states(int generation);
    void call_handler();
    void fold();
    void run_statement();

    const Projection &projection_;
    Partitioner partitioner_;
    Oid owner_;
    MemoryContext memory_;
    MemoryContext events_memory_;
    store::EventComposer composer_;
    TupleDesc columns_ = nullptr; // statement kind, as is the store
    Tuplestorestate *store_ = nullptr;
    std::vector<Item> items_;
    std::vector<Partition> partitions_;
    std::unordered_map<std::string, size_t> partition_of_;
    std::vector<int64> positions_;
    std::vector<std::string> parking_; // only with on_error: park
    int64 count_ = 0, current_ = -1; // the event that the user's code works on; -1: none, or all
    bool called_ = false;
    size_t bytes_ = 0;
    int exceptions_;
};

/// The owner's OID; 42704 with a sentence for people when the role is gone.
Oid owner_of(const Projection &projection);

/// Prepares a statement over new_events as the current user; raises what is wrong with it.
void check_statement(const std::string &statement);
/// The same for one that runs on a staging table.
void check_statement(const Projection &staged);

} // namespace chronicle::projection
