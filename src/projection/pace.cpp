#include "projection/pace.hpp"

#include <unordered_map>

namespace chronicle::projection {

namespace {

constexpr int largest_growth = 128; // of a batch, in multiples of batch_size
constexpr int64 short_batch_us = 100000; // the next one may be larger
constexpr int64 quick_batch_us = 5000; // who may go together with others
constexpr int stays_alone = 20; // quick batches, after one that failed beside others

bool has_worked(std::optional<Outcome> outcome) { return outcome == Outcome::worked || outcome == Outcome::filled; }

} // namespace

void Pace::note(Outcome outcome, int64 took_us) {
    if (outcome != Outcome::filled)
        growth_ = 1;
    else if (took_us < short_batch_us)
        growth_ = std::min(growth_ * 2, largest_growth);
    if (!has_worked(outcome))
        return;
    finished_++;
    set_quick(outcome == Outcome::worked && took_us < quick_batch_us);
}

void Pace::note_failure() {
    growth_ = 1;
    set_quick(false);
}

void Pace::note_together(std::optional<Outcome> outcome, int64 took_us) {
    set_quick(outcome && outcome != Outcome::filled && took_us < quick_batch_us);
    finished_ += has_worked(outcome);
}

void Pace::note_failure_together() { quick_ = -stays_alone; }

Pace &pace_of(int64 projection_id) {
    static std::unordered_map<int64, Pace> *all = nullptr;
    if (!all)
        all = new std::unordered_map<int64, Pace>();
    return (*all)[projection_id];
}

} // namespace chronicle::projection
