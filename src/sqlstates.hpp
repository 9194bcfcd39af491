// chronicle's own SQLSTATEs (contract, section 1). One place, so that no two mean the same.
#pragma once

#include "pg/postgres.hpp"

namespace chronicle {

inline constexpr int wrong_expected_version = MAKE_SQLSTATE('C', 'H', '0', '0', '1');
inline constexpr int stream_deleted = MAKE_SQLSTATE('C', 'H', '0', '0', '2');
inline constexpr int event_id_conflict = MAKE_SQLSTATE('C', 'H', '0', '0', '3');
inline constexpr int command_rejected = MAKE_SQLSTATE('C', 'H', '0', '0', '5');
inline constexpr int invalid_event = MAKE_SQLSTATE('C', 'H', '0', '0', '4');
inline constexpr int projection_failed = MAKE_SQLSTATE('C', 'H', '0', '1', '0');
inline constexpr int invalid_workflow = MAKE_SQLSTATE('C', 'H', '0', '3', '0');
inline constexpr int invalid_execution_state = MAKE_SQLSTATE('C', 'H', '0', '3', '1');
inline constexpr int task_lease_lost = MAKE_SQLSTATE('C', 'H', '0', '3', '2');
inline constexpr int idempotency_conflict = MAKE_SQLSTATE('C', 'H', '0', '3', '3');

} // namespace chronicle
