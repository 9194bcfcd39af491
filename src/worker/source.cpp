#include "worker/source.hpp"

namespace chronicle::worker {

namespace {

Source sources[max_sources];
int count = 0;

} // namespace

void add_source(const Source &source) {
    Assert(count < max_sources);
    sources[count++] = source;
}

int source_count() { return count; }
const Source &source(int index) { return sources[index]; }

} // namespace chronicle::worker
