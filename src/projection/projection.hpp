// A projection as it was declared (chronicle_data.projection), and the processes' cache of them.
#pragma once

#include "pg/datum.hpp"
#include "pg/spi.hpp"
#include "pg/user_function.hpp"
#include "store/event_row.hpp"
#include "store/log.hpp"

namespace chronicle::projection {

enum class Kind { handler, state, statement };

struct Options {
    int batch_size = 500;
    bool batch_may_grow = true; // no batch_size was given
    int max_retries = 5;
    int64 retry_delay_ms = 1000;
    int timeout_ms = 30000;
    bool park = false; // on_error
    std::string start_from = "beginning";
    std::optional<std::string> target, reset;
};

/// What a projection follows. Empty optionals do not filter.
struct Filter {
    std::optional<std::vector<std::string>> categories, streams, types;
    std::optional<std::string> stream_regex;

    /// Also asks for the category where streams are named.
    bool wants_category(std::string_view category) const;
    bool wants(const store::EventRow &event) const;
    /// Whether the current user may read all that it asks for.
    bool is_readable() const;
    /// The same question to the log. 42501 for who may not read all of it: nothing is left out unnoticed.
    store::LogQuery query() const;
};

struct Projection {
    int64 id = 0;
    std::string name, owner;
    bool is_inline = false;
    Kind kind = Kind::handler;
    std::optional<std::string> handler, statement;
    std::string search_path;
    Filter filter;
    std::optional<std::string> initial_state, partition_by;
    Options options;
    bool is_live = false; // inline: appenders apply its events (src/projection/inline.cpp)
    int generation = 1; // inline: of the states that count
    int64 position = 0; // inline, not live: appenders apply what they were given up to here (src/projection/inline.cpp)
    int64 origin = 0; // events after it count (option start_from)
    Oid staging = InvalidOid, target = InvalidOid; // of a copy that runs on a staging table (staging.cpp)
};

/// handler(event chronicle.event) returns void
pg::Signature handler_signature();
/// handler(state jsonb, event chronicle.event) returns jsonb
pg::Signature state_signature();

using ProjectionPointer = std::shared_ptr<const Projection>;

/// All of this database, by id; by the newest committed state. Inside a transaction.
const std::vector<ProjectionPointer> &all_projections();
ProjectionPointer find_projection(int64 id);
/// A hash of what the code is now: the handler, and upcasters. Nothing when the handler is gone. Functions that are
/// called in their turn, or by a statement, are not in it.
std::optional<int64> code_fingerprint(const Projection &projection);
/// After a change of chronicle_data.projection.
void projections_changed();

/// Reads `options` (JSON text); 22023 for an unknown key or a wrong value.
Options parse_options(const std::string &options);
/// True when the POSIX regular expression matches.
bool matches_regex(const std::string &pattern, std::string_view text);

/// The partition of an event: text of the first match of partition_by; '' without one.
class Partitioner {
public:
    explicit Partitioner(const Projection &projection);
    std::string of(const store::EventRow &event) const;
    Datum path() const { return path_; } // jsonpath; 0: it is none

private:
    enum class By { nothing, stream, category, path } by_ = By::nothing;
    Datum path_ = 0;
    Datum path_in_data_ = 0; // the same over the data alone; 0: it looks at more
};

} // namespace chronicle::projection
