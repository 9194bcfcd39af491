#include "worker/source.hpp"

namespace chronicle::worker {

namespace {

Source sources[max_sources];
int count = 0;
Chore chores[max_chores];
int chore_count = 0;

} // namespace

void add_source(const Source &source) {
    Assert(count < max_sources);
    sources[count++] = source;
}

void add_chore(Chore chore) {
    Assert(chore_count < max_chores);
    chores[chore_count++] = chore;
}

TimestampTz run_chores() {
    TimestampTz due = 0;
    for (int i = 0; i < chore_count; i++) {
        TimestampTz next = chores[i]();
        if (next != 0 && (due == 0 || next < due))
            due = next;
    }
    return due;
}

int source_count() { return count; }
const Source &source(int index) { return sources[index]; }

} // namespace chronicle::worker
