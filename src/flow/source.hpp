#pragma once

namespace chronicle::flow {

/// Registers nodes as work for executors; in _PG_init.
void init_source();

} // namespace chronicle::flow
