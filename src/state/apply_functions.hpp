// The ready-made apply functions. A fold knows them by their address, and keeps their state as a document.
#pragma once

#include "pg/guard.hpp"

extern "C" {
PGDLLEXPORT Datum chronicle_apply_merge_patch(PG_FUNCTION_ARGS);
PGDLLEXPORT Datum chronicle_apply_json_patch(PG_FUNCTION_ARGS);
}
