#include "store/path_filter.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
}

namespace chronicle::store {

PathFilter::PathFilter(Datum path) : path_(path) {
    JsonPathItem root;
    pg::call([&]() noexcept { jspInit(&root, DatumGetJsonPathP(path)); });
    predicate_ = (root.type >= jpiAnd && root.type <= jpiGreaterOrEqual) || root.type == jpiExists ||
                 root.type == jpiStartsWith || root.type == jpiLikeRegex;
}

bool PathFilter::passes(Datum jsonb) const {
    return pg::call([&]() noexcept {
        LOCAL_FCINFO(fcinfo, 4);
        InitFunctionCallInfoData(*fcinfo, nullptr, 4, InvalidOid, nullptr, nullptr);
        fcinfo->args[0] = {jsonb, false};
        fcinfo->args[1] = {path_, false};
        fcinfo->args[2] = {DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), false};
        fcinfo->args[3] = {BoolGetDatum(true), false};
        Datum found = predicate_ ? jsonb_path_match(fcinfo) : jsonb_path_exists(fcinfo);
        return !fcinfo->isnull && DatumGetBool(found);
    });
}

} // namespace chronicle::store
