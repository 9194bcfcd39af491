// When a workflow is to run: of schedule_workflow, and of `metadata.schedule` in a definition.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cron.hpp"
#include "core/json.hpp"
#include "core/node_types.hpp"

namespace chronicle::core {

inline constexpr double shortest_every_ms = 100;
inline constexpr double longest_every_ms = 1e5 * 24 * 60 * 60 * 1000; // some 270 years
inline constexpr std::string_view overlap_choices[] = {"skip", "queue", "allow", "cancel_running"};

struct ScheduleSpec {
    bool at_once = false; ///< scheduleType immediate: one run with each new version, and no schedule
    std::string cron; ///< empty: every_ms
    double every_ms = 0;
    std::string timezone = "UTC";
    std::string overlap = "skip";
    bool catch_up = false;
    json input = json::object();
};

/// `metadata.schedule` of a definition; nothing when there is none, it is not enabled, or it has faults.
std::optional<ScheduleSpec> definition_schedule(const json &document, std::vector<Fault> &faults);

/// What is due of a schedule at some moment. Times are microseconds of one clock.
struct Due {
    bool on_time = false; ///< something is due that is not too late
    std::int64_t newest = 0; ///< the newest time that is due
    std::optional<std::int64_t> next; ///< the first one that is not due yet; nothing: never again
};

/// A fixed rate, counted from an anchor, so that no delay adds up. `since`: the oldest time that is due.
Due due_every(std::int64_t anchor, std::int64_t every, std::int64_t since, std::int64_t now, std::int64_t grace);
/// The same of a cron expression, by whole seconds since 1970.
Due due_cron(const Cron &cron, const Zone &zone, std::int64_t since, std::int64_t now, std::int64_t grace);

} // namespace chronicle::core
