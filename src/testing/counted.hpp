// What tests of the seam count: C++ objects that must not outlive the error that went past them.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::testing {

/// An object with a destructor, for frames that an error crosses.
class Counted {
public:
    Counted() { alive++; }
    ~Counted() { alive--; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;
    static inline int64 alive = 0;

private:
    std::string on_the_heap_ = std::string(100, 'x');
};

/// Runs `body` below `depth` C++ frames, each with an object that must be destroyed.
void below_frames(int depth, const std::function<void()> &body);

/// Lets the n-th operator new from now on (0: the next) and all later ones fail; negative: none.
void fail_allocations_after(int64 count);

} // namespace chronicle::testing
