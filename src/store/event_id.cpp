#include "store/event_id.hpp"

extern "C" {
#include "common/pg_prng.h"
#include "datatype/timestamp.h"
}

namespace chronicle::store {

namespace {

constexpr uint64 position_bits = 44;
constexpr uint64 position_mask = (uint64(1) << position_bits) - 1;
constexpr int64 epoch_difference_us = int64(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

void put_bits(pg::Uuid &id, size_t first, uint64 value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        id[first + i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
}

} // namespace

pg::Uuid make_event_id(TimestampTz at, int64 position) {
    uint64 us = static_cast<uint64>(at + epoch_difference_us);
    uint64 fraction = (us % 1000) * 4096 / 1000;
    uint64 chance = pg_prng_uint64(&pg_global_prng_state) & ((uint64(1) << 18) - 1);
    uint64 low = (uint64(2) << 62) | (chance << position_bits) | (static_cast<uint64>(position) & position_mask);
    pg::Uuid id;
    put_bits(id, 0, us / 1000, 6);
    put_bits(id, 6, (uint64(7) << 12) | fraction, 2);
    put_bits(id, 8, low, 8);
    return id;
}

std::optional<int64> position_in(const pg::Uuid &id) {
    if ((id[6] >> 4) != 7 || (id[8] >> 6) != 2)
        return std::nullopt;
    uint64 low = 0;
    for (size_t i = 8; i < id.size(); i++)
        low = (low << 8) | id[i];
    return static_cast<int64>(low & position_mask);
}

} // namespace chronicle::store
