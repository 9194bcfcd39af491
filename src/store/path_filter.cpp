#include "core/json.hpp"

#include "store/path_filter.hpp"

extern "C" {
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
}

namespace chronicle::store {

PathFilter::PathFilter(Datum path) : path_(path) {
    JsonPathItem root;
    pg::call([&]() noexcept { jspInit(&root, DatumGetJsonPathP(path)); });
    bool compares = (root.type >= jpiAnd && root.type <= jpiGreaterOrEqual) || root.type == jpiExists ||
                    root.type == jpiStartsWith || root.type == jpiLikeRegex;
    predicate_ = compares && !jspHasNext(&root); // (…).type() finds something
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

namespace {

// The first variable of a path in its output form, which writes names and strings in quotes with backslashes, and a
// variable as $ before one.
std::optional<std::string> find_variable(std::string_view path) {
    bool quoted = false;
    for (size_t i = 0; i < path.size(); i++) {
        if (quoted && path[i] == '\\')
            i++;
        else if (path[i] == '"')
            quoted = !quoted;
        else if (!quoted && path[i] == '$' && i + 1 < path.size() && path[i + 1] == '"')
            return std::string(path.substr(i, path.find('"', i + 2) + 1 - i));
    }
    return std::nullopt;
}

} // namespace

void refuse_variables(Datum path, const char *argument) {
    const char *text = pg::call([&]() noexcept { return DatumGetCString(DirectFunctionCall1(jsonpath_out, path)); });
    if (std::optional<std::string> variable = find_variable(text))
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string(argument) + " has the variable " + *variable + ", which has no value",
                   .detail = core::json{{"field", argument}, {"value", text}}.dump(),
                   .hint = "A jsonpath looks at what $ is; format('…%s…', value)::jsonpath puts a value into it."});
}

} // namespace chronicle::store
