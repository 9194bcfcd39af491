// Async projections as work for executors, and inline ones with the append.
#include "projection/source.hpp"

#include "access/access.hpp"
#include "pg/xact.hpp"
#include "projection/follow.hpp"
#include "projection/inline.hpp"
#include "projection/pace.hpp"
#include "projection/progress.hpp"
#include "projection/rebuild.hpp"
#include "store/order.hpp"
#include "store/watch.hpp"
#include "worker/registry.hpp"

extern "C" {
#include "utils/inval.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

constexpr int64 far_behind = 5000; // positions: such a projection deserves an executor of its own
constexpr int64 least_round_us = 1000, most_rest_us = 10000;
constexpr int64 short_round_us = 100000; // in a longer one another executor may follow the log
constexpr int rests_as_long = 3; // times what the round took

int number = -1;

// A projection that is, or may soon be, a worker's business: to follow the log, or to be rebuilt.
struct Open {
    ProjectionPointer projection;
    int64 position;
    TimestampTz due_at;
    bool rebuilding, active, rebuilt_beside;
};

// Of one owner, or of all.
std::vector<Open> find_open(const std::optional<std::string> &owner) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{
        "SELECT g.projection_id, g.position, g.due_at, g.status = 'rebuilding', g.status <> 'faulted', "
        "EXISTS (SELECT FROM chronicle_data.projection_rebuild_part AS r WHERE r.projection_id = g.projection_id) "
        "FROM chronicle_data.projection_progress AS g WHERE g.status <> 'disabled' "
        "AND ($1 IS NULL OR g.owner = $1) ORDER BY g.projection_id",
        types};
    struct Found {
        int64 id, position;
        TimestampTz due_at;
        bool rebuilding, active, rebuilt_beside;
    };
    std::vector<Found> all;
    {
        access::EngineScope engine;
        pg::Values values;
        pg::Rows rows = find.run(values.maybe_text(owner));
        for (uint64 i = 0; i < rows.count; i++)
            all.push_back({rows[i].int8(1), rows[i].int8(2), rows[i].null(3) ? 0 : rows[i].time(3), rows[i].boolean(4),
                           rows[i].boolean(5), rows[i].boolean(6)});
    }
    std::vector<Open> open;
    for (const Found &f : all)
        if (ProjectionPointer p = find_projection(f.id))
            if (bool follows = f.active && (!p->is_inline || f.rebuilding); follows || f.rebuilt_beside)
                open.push_back({std::move(p), f.position, f.due_at, f.rebuilding, follows, f.rebuilt_beside});
    return open;
}

uint8 parts_of(const Open &open) {
    const Filter &filter = open.projection->filter;
    uint8 parts = filter.wants_category("workflow") ? worker::log_of_runs : 0;
    bool only_runs = filter.categories && filter.categories->size() == 1 && parts != 0;
    return parts | (only_runs ? 0 : worker::log_of_users);
}

int64 newest_mark() {
    pg::LatestSnapshotScope snapshot;
    return store::order::mark(pg::call([]() noexcept { return GetActiveSnapshot(); }));
}

bool has_work(const Open &open, int64 mark, TimestampTz now) {
    return open.active && (open.due_at == 0 || open.due_at <= now) && (open.position < mark || open.rebuilding);
}

TimestampTz look(std::vector<worker::Demand> &demands) {
    std::vector<Open> all = find_open(std::nullopt);
    if (all.empty())
        return 0;
    int64 mark = newest_mark();
    TimestampTz now = GetCurrentTimestamp(), due = 0;
    for (const Open &open : all) {
        if (open.active && open.due_at > now && (due == 0 || open.due_at < due))
            due = open.due_at;
        auto demand = std::find_if(demands.begin(), demands.end(),
                                   [&](const worker::Demand &d) { return d.owner == open.projection->owner; });
        if (demand == demands.end())
            demand = demands.insert(demands.end(), worker::Demand{.owner = open.projection->owner});
        demand->follows |= parts_of(open);
        // One executor follows them all; more for those that have much to do.
        if (has_work(open, mark, now) && (demand->shares == 0 || mark - open.position > far_behind))
            demand->shares++;
        if (open.rebuilt_beside)
            demand->shares += count_rebuild_steps(*open.projection, now, due);
    }
    return due;
}

// Executors that ended in a batch, by a signal or of themselves: the next one runs it with fewer events.
void reclaim() {
    for (int64 id : worker::take_lost_subjects(number))
        mark_lost(id);
}

void fail_owner(const std::string &owner, int sqlstate, const std::string &reason) {
    pg::start_transaction();
    {
        pg::MemoryScope memory("chronicle projections");
        for (const Open &open : find_open(owner)) {
            pg::Error error(sqlstate, {.message = reason});
            if (open.rebuilt_beside)
                fail_rebuild(*open.projection, error);
            if (!open.active)
                continue;
            lock_projection(open.projection->id);
            pg::call([]() noexcept { AcceptInvalidationMessages(); });
            ProjectionPointer now = find_projection(open.projection->id);
            if (now && now->owner == owner) // set_owner may have come before
                set_faulted(open.projection->id, error, 0);
        }
    }
    pg::commit_transaction();
}

// --- in an executor ---

// A round: the owner's projections that had something to do when it began, one batch of each, and one step of each that
// is rebuilt; by turns with the other sources. After a round that left nothing behind we rest for three times as long
// as it took: under a steady load the next batches are larger, and cost less for each event, and processors are left to
// those who append. A round is short when there is little to do, and so is the rest.
struct Turn {
    ProjectionPointer projection;
    Outcome (*take)(const ProjectionPointer &, const worker::Claimant &);
    bool together = false; // with others, in one transaction (follow.cpp)
};
struct Round {
    std::vector<Turn> left; // the next one last
    TimestampTz began = 0;
    bool worked = false, left_more = false;
};
Round *round = nullptr;

void begin_round(const worker::Claimant &claimant) {
    uint8 parts = 0;
    worker::attend_log(0);
    *round = Round{};
    round->began = GetCurrentTimestamp();
    pg::start_transaction();
    {
        pg::MemoryScope memory("chronicle projections");
        std::vector<Open> open = find_open(claimant.owner);
        for (const Open &o : open)
            parts |= parts_of(o);
        worker::follow_log(parts);
        int64 mark = open.empty() ? 0 : newest_mark();
        for (const Open &o : open) {
            if (has_work(o, mark, round->began))
                round->left.push_back({o.projection, follow, pace_of(o.projection->id).goes_together()});
            if (o.rebuilt_beside)
                round->left.push_back({o.projection, rebuild_step});
        }
    }
    pg::commit_transaction();
    std::stable_partition(round->left.begin(), round->left.end(), [](const Turn &t) { return t.together; });
    std::reverse(round->left.begin(), round->left.end());
    if (!round->left.empty())
        worker::attend_log(short_round_us);
}

void note(Outcome outcome, bool is_rebuild) {
    bool worked = outcome == Outcome::worked || outcome == Outcome::filled;
    round->worked |= worked;
    round->left_more |= outcome == Outcome::filled || (worked && is_rebuild);
}

// The next turns that go together, if they are more than one; true when they did something. Who must go alone goes
// next.
bool take_together() {
    std::vector<ProjectionPointer> projections;
    for (auto turn = round->left.rbegin(); turn != round->left.rend() && turn->together; ++turn)
        projections.push_back(turn->projection);
    if (projections.size() < 2)
        return false;
    std::vector<std::optional<Outcome>> outcomes = follow_together(projections).outcomes;
    size_t done = outcomes.empty() ? projections.size() : outcomes.size();
    round->left.resize(round->left.size() - done);
    bool worked = false;
    for (size_t i = done; i-- > 0;) {
        if (outcomes.empty() || !outcomes[i]) {
            round->left.push_back({projections[i], follow});
            continue;
        }
        note(*outcomes[i], false);
        worked |= *outcomes[i] == Outcome::worked || *outcomes[i] == Outcome::filled;
    }
    return worked;
}

void end_round() {
    int64 took = GetCurrentTimestamp() - round->began;
    if (round->worked && !round->left_more && took >= least_round_us)
        worker::rest(std::min(took * rests_as_long, most_rest_us));
}

// The next turn of the round that finds something to do.
bool step(const worker::Claimant &claimant) {
    if (!round)
        round = new Round();
    for (bool is_new = false;;) {
        if (round->left.empty()) {
            if (is_new || worker::resting())
                return false;
            begin_round(claimant); // also after a round that has ended here: what came meanwhile has not woken us
            is_new = true;
            continue;
        }
        bool worked = take_together();
        if (!worked && !round->left.empty()) {
            Turn turn = std::move(round->left.back());
            round->left.pop_back();
            Outcome outcome = turn.take(turn.projection, claimant);
            worked = outcome == Outcome::worked || outcome == Outcome::filled;
            note(outcome, turn.take == rebuild_step);
        }
        if (round->left.empty())
            end_round();
        if (worked)
            return true;
    }
}

} // namespace

void init() {
    number = worker::source_count();
    worker::add_source({"projections", look, reclaim, fail_owner, step});
    store::add_watcher(follows_inline);
}

} // namespace chronicle::projection
