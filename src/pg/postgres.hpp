// The one door to PostgreSQL's headers.
//
// Standard headers come first: postgres.h redefines printf and friends, which would break them. PGDLLEXPORT is empty
// on PostgreSQL 15, and we build with hidden visibility, so it is set before fmgr.h declares the entry points.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

extern "C" {
#include "postgres.h"
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#include "fmgr.h"
#include "miscadmin.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

// Macros of PostgreSQL that clash with the names C++ people use.
#undef Abs
#undef Max
#undef Min
