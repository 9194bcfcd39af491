// Stored definitions, parsed. A definition never changes, so a process keeps what it has parsed.
#pragma once

#include "core/definition.hpp"

#include "access/access.hpp"

namespace chronicle::flow {

struct StoredDefinition {
    int64 id;
    std::string workflow_id;
    int version;
    std::string search_path;
    core::Definition graph;
};

/// Workflows can be given away; in _PG_init.
void init_owned();

/// The definition of this id. Who refers to a part of it across a statement keeps the pointer: the cache may forget it.
std::shared_ptr<const StoredDefinition> stored_definition(int64 definition_id);

} // namespace chronicle::flow
