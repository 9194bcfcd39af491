// The rows of view node_types: the registry of src/core.
#include "core/node_types.hpp"

#include "flow/node.hpp"

extern "C" {
#include "funcapi.h"
}

namespace chronicle::flow {

CHRONICLE_FUNCTION(chronicle_node_types) {
    pg::call([&]() noexcept { InitMaterializedSRF(fcinfo, 0); });
    ReturnSetInfo *result = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    for (const core::NodeType &type : core::node_types())
        for (core::Role role : type.roles) {
            Datum values[] = {pg::make_text(type.name),
                              pg::make_text(core::role_name(role)),
                              pg::make_text(type.display_name),
                              pg::make_text(type.category),
                              pg::make_text(type.description),
                              pg::make_jsonb(core::write_json(core::config_schema(type)))};
            bool nulls[std::size(values)] = {};
            pg::call([&]() noexcept { tuplestore_putvalues(result->setResult, result->setDesc, values, nulls); });
        }
    PG_RETURN_NULL();
}

} // namespace chronicle::flow
