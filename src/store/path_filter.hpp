// A jsonpath as a condition on JSON.
#pragma once

#include "pg/guard.hpp"

namespace chronicle::store {

/// A predicate path must be true; any other must find something. Errors of the path are false.
class PathFilter {
public:
    /// The jsonpath datum is detoasted, and lives as long as the filter.
    explicit PathFilter(Datum path);
    bool passes(Datum jsonb) const;

private:
    Datum path_;
    bool predicate_;
};

/// 22023 for a path with a variable ($name): nobody gives it a value. For paths as users hand them in.
void refuse_variables(Datum path, const char *argument);

} // namespace chronicle::store
