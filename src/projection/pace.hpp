// How batches of projections went of late, in this process: what the next ones may be. Lost with the process.
//
// Far behind, batches grow: each full one that took less than 100 ms is followed by one of twice the size, up to 64,000
// events. A key that many events update is then written once for all of them. A failure ends the growth, and so does
// the end of the log. Who gave a batch_size gets that.
#pragma once

#include "projection/follow.hpp"

namespace chronicle::projection {

class Pace {
public:
    /// How many times batch_size the next batch may have.
    int growth() const { return growth_; }
    /// Its last batch was quick: it may share a transaction with others of its owner.
    bool goes_together() const { return growth_ == 1 && quick_ == 1; }
    /// Batches that this process finished.
    int finished() const { return finished_; }

    void note(Outcome outcome, int64 took_us);
    void note_failure();
    /// Of one that shared a transaction; no outcome: it was left out.
    void note_together(std::optional<Outcome> outcome, int64 took_us);
    /// It failed beside others, and stays alone for a while.
    void note_failure_together();

    bool at_the_end = false; // of an inline one that catches up: its last batch came to the end of the log

private:
    void set_quick(bool was_quick) { quick_ = was_quick ? std::min(quick_ + 1, 1) : std::min(quick_, 0); }

    int growth_ = 1;
    int quick_ = 0; // 1: the last batch was quick; below that, how many more must be
    int finished_ = 0;
};

/// Valid as long as the process lives.
Pace &pace_of(int64 projection_id);

} // namespace chronicle::projection
