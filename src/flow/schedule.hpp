// Schedules: runs by the clock. Told in schedule.cpp.
#pragma once

#include "core/schedule.hpp"

#include "pg/datum.hpp"

namespace chronicle::flow {

/// What is wrong with a time zone's name; empty: nothing.
std::string timezone_problem(const std::string &name);

/// A new version of a workflow has been stored with this `metadata.schedule` (nothing: none): it replaces the one of
/// the version before; a schedule that is the same goes on.
void set_definition_schedule(const std::string &workflow_id, const std::optional<core::ScheduleSpec> &spec);

/// Starts what is due, each schedule in a transaction of its own. Returns when the next one is due (0: none). A chore
/// of the scheduler.
TimestampTz fire_schedules();

} // namespace chronicle::flow
