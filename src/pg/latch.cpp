#include "pg/latch.hpp"

extern "C" {
#include "storage/latch.h"
}

namespace chronicle::pg {

bool wait_latch(long timeout_ms, uint32 wait_event) {
    int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0);
    int happened = call([&]() noexcept { return WaitLatch(MyLatch, events, timeout_ms, wait_event); });
    if (happened & WL_LATCH_SET)
        ResetLatch(MyLatch);
    check_interrupts();
    return happened & WL_LATCH_SET;
}

} // namespace chronicle::pg
