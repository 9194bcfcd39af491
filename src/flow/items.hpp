// Quick items of a map share a transaction. Told in items.cpp.
#pragma once

#include "flow/batch.hpp"

#include <memory>

namespace chronicle::flow {

/// What runs in one transaction: the claimed node's batch first, then those of other runs.
using Batches = std::vector<std::unique_ptr<Batch>>;

/// Runs more items of the map that the first batch's run is an item of, as long as the transaction has room.
void run_other_items(Batches &batches);

} // namespace chronicle::flow
