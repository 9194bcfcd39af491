// Walking the queue, by the index (owner, priority DESC, queue_number) of what is ready.
//
// A node that leaves the queue leaves a dead entry at the very place where the next walk begins. As long as some
// session keeps an old snapshot nobody may remove these entries, and a walk over all of them would cost more with every
// claim. So each process remembers, per owner and priority, below which number there is nothing any more, and begins
// there.
//
// That is known, not guessed: numbers are positions of the global order (store/order.hpp). For the snapshot S of a
// walk, every number up to the mark of S is visible to S or never will be; so what lies below the first entry that S
// sees, and not above the mark, is done with. Whatever becomes ready again (a retry, a wait that is over, a lost
// worker) gets a new number. It must not stand behind all that waits for the first time: its number is below zero, in
// an order of its own, which comes first.
//
// A walk in a transaction that has itself removed entries does not see them, but they are back if it aborts: what such
// a walk learns counts after the commit only.
//
// Priorities that no walk has met yet are found by walks over the gaps between the known ones; these gaps are empty.
#include "flow/queue_scan.hpp"

#include "access/access.hpp"
#include "catalog/objects.hpp"
#include "store/order.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_collation_d.h"
#include "utils/fmgroids.h"
}

#include <map>

namespace chronicle::flow {

namespace {

constexpr int64 again_offset = int64(1) << 62; // position - offset: the number of what is ready again
constexpr size_t known_limit = 64; // priorities of an owner, and owners
enum Column { execution_id = 1, node_index = 2, owner_name = 5, priority_number = 6, queue_number = 7 }; // of node_task

struct Floors {
    int64 again = PG_INT64_MIN, fresh = 0; // nothing ready has a lower number
};
using Priorities = std::map<int, Floors, std::greater<>>;
std::map<std::string, Priorities> *known_owners = nullptr;

struct Learned {
    std::string owner;
    int priority;
    bool again;
    int64 floor;
};
std::vector<Learned> *to_learn = nullptr; // at the commit

Oid known_sequence = InvalidOid; // of the positions: those of another life of the extension tell nothing

std::map<std::string, Priorities> &owners() {
    if (!known_owners)
        known_owners = new std::map<std::string, Priorities>();
    if (Oid sequence = catalog::objects().position_seq; sequence != known_sequence) {
        known_owners->clear();
        known_sequence = sequence;
    }
    return *known_owners;
}

Priorities &known_priorities(const std::string &owner) {
    if (owners().size() > known_limit)
        owners().clear();
    return owners()[owner];
}

// Perhaps after the transaction: nothing is looked up.
void learn(const Learned &learned) {
    Priorities &known = (*known_owners)[learned.owner];
    Floors &floors = known[learned.priority];
    int64 &floor = learned.again ? floors.again : floors.fresh;
    floor = std::max(floor, learned.floor);
}

} // namespace

// A part of the walk: priorities from high to low, all of their numbers; or one priority's numbers of one kind.
struct QueueScan::Band {
    int lowest, highest;
    int64 from = PG_INT64_MIN, to = PG_INT64_MAX;
    std::optional<int64> first = {}; // the first number met
    bool is_gap() const { return from == PG_INT64_MIN && to == PG_INT64_MAX; }
};

QueueScan::QueueScan(const std::string &owner, Learns learns)
    : owner_(owner), learns_(learns), exceptions_(std::uncaught_exceptions()) {
    mark_ = store::order::mark(GetActiveSnapshot());
    int above = PG_INT32_MAX;
    for (const auto &[priority, floors] : known_priorities(owner)) {
        if (priority < above)
            bands_.push_back({.lowest = priority + 1, .highest = above});
        bands_.push_back({.lowest = priority, .highest = priority, .from = floors.again, .to = -1});
        bands_.push_back({.lowest = priority, .highest = priority, .from = floors.fresh});
        above = priority - 1; // priorities are above PG_INT32_MIN
    }
    bands_.push_back({.lowest = PG_INT32_MIN, .highest = above});
}

QueueScan::~QueueScan() {
    if (!pg::unwinding(exceptions_) && open_)
        leave_band();
}

bool QueueScan::begin_band() {
    if (band_ == bands_.size())
        return false;
    const catalog::Objects &c = catalog::objects();
    const Band &band = bands_[band_];
    if (reader_)
        reader_->restart();
    else
        reader_.emplace(c.node_task, c.node_task_ready, GetActiveSnapshot());
    reader_->key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(owner_), C_COLLATION_OID);
    if (band.is_gap()) { // four keys, as below
        reader_->key(2, BTLessEqualStrategyNumber, F_INT4LE, Int32GetDatum(band.highest));
        reader_->key(2, BTGreaterEqualStrategyNumber, F_INT4GE, Int32GetDatum(band.lowest));
        reader_->key(3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(PG_INT64_MIN));
    } else {
        reader_->key(2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(band.lowest));
        reader_->key(3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(band.from));
        reader_->key(3, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(band.to));
    }
    open_ = true;
    return true;
}

// Nothing below the first number met will come any more, as far as the mark goes.
void QueueScan::leave_band() {
    const Band &band = bands_[band_];
    open_ = false;
    if (band.is_gap())
        return;
    bool again = band.to < 0;
    int64 known = mark_ + 1 - (again ? again_offset : 0);
    Learned learned{owner_, band.lowest, again, band.first ? std::min(*band.first, known) : known};
    if (learns_ == Learns::at_once) {
        learn(learned);
        return;
    }
    if (!to_learn)
        to_learn = new std::vector<Learned>();
    to_learn->push_back(std::move(learned));
}

void QueueScan::ended(bool committed) {
    if (!to_learn)
        return;
    if (committed)
        for (const Learned &learned : *to_learn)
            learn(learned);
    to_learn->clear();
}

std::optional<ReadyNode> QueueScan::next() {
    for (;;) {
        if (!open_ && !begin_band())
            return std::nullopt;
        if (!reader_->next()) {
            leave_band();
            band_++;
            continue;
        }
        bool is_null;
        Band &band = bands_[band_];
        if (!band.first)
            band.first = DatumGetInt64(reader_->column(queue_number, &is_null));
        if (band.is_gap())
            if (Priorities &known = known_priorities(owner_); known.size() < known_limit)
                known.try_emplace(DatumGetInt32(reader_->column(priority_number, &is_null)));
        return ReadyNode{pg::to_uuid(reader_->column(execution_id, &is_null)),
                         DatumGetInt32(reader_->column(node_index, &is_null))};
    }
}

namespace {

// The first owner with something ready, in this open range of names.
std::optional<std::string> find_owner(const std::string &after, const std::string *before) {
    const catalog::Objects &c = catalog::objects();
    pg::LatestSnapshotScope snapshot;
    pg::IndexReader reader(c.node_task, c.node_task_ready, GetActiveSnapshot());
    reader.key(1, BTGreaterStrategyNumber, F_TEXT_GT, pg::make_text(after), C_COLLATION_OID);
    if (before)
        reader.key(1, BTLessStrategyNumber, F_TEXT_LT, pg::make_text(*before), C_COLLATION_OID);
    if (!reader.next())
        return std::nullopt;
    bool is_null;
    return pg::to_string(reader.column(owner_name, &is_null));
}

} // namespace

std::vector<std::pair<std::string, int64>> count_ready(int64 limit) {
    std::vector<std::string> names;
    for (const auto &[owner, priorities] : owners())
        names.push_back(owner);
    std::string after;
    for (size_t i = 0; i <= names.size();) { // the gaps between the known ones
        std::optional<std::string> found = find_owner(after, i < names.size() ? &names[i] : nullptr);
        if (found)
            names.insert(names.begin() + static_cast<long>(i), *found);
        else if (i == names.size())
            break;
        after = names[i++];
    }
    std::vector<std::pair<std::string, int64>> counts;
    for (const std::string &owner : names) {
        QueueScan scan(owner);
        int64 count = 0;
        while (count < limit && scan.next())
            count++;
        if (count > 0)
            counts.emplace_back(owner, count);
    }
    return counts;
}

// The default of node_task.queue_number, and what replaces it when a node becomes ready again.
CHRONICLE_FUNCTION(chronicle_queue_number) {
    (void)fcinfo;
    return Int64GetDatum(store::order::allocate(1).first);
}

CHRONICLE_FUNCTION(chronicle_queue_number_again) {
    (void)fcinfo;
    return Int64GetDatum(store::order::allocate(1).first - again_offset);
}

} // namespace chronicle::flow
