// The frames, and an operator new of this module alone (it is linked with -Bsymbolic), which can be told to fail.
#include "testing/counted.hpp"

#include <cstdlib>
#include <new>

namespace {

int64 allocations_left = -1;

void *allocate(std::size_t size) {
    if (allocations_left == 0)
        throw std::bad_alloc();
    if (allocations_left > 0)
        allocations_left--;
    if (void *memory = std::malloc(size))
        return memory;
    throw std::bad_alloc();
}

} // namespace

void *operator new(std::size_t size) { return allocate(size); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

namespace chronicle::testing {

void below_frames(int depth, const std::function<void()> &body) {
    Counted counted;
    if (depth > 0)
        below_frames(depth - 1, body);
    else
        body();
}

void fail_allocations_after(int64 count) { allocations_left = count; }

} // namespace chronicle::testing
