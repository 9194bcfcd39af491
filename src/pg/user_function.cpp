#include "pg/user_function.hpp"

#include "compat/compat.hpp"
#include "pg/xact.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace chronicle::pg {

namespace {

struct Found {
    Oid oid;
    bool right_kind; // a plain function that returns what is wanted
};

// Without an error for what is missing; one for a name that cannot be parsed.
Found look_up(const char *name, const Signature &signature) noexcept {
    List *names = compat::parse_qualified_name(name);
    Oid oid = LookupFuncName(names, signature.count, signature.arguments, true);
    if (!OidIsValid(oid))
        return {};
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
    if (!HeapTupleIsValid(tuple))
        return {};
    Form_pg_proc form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    bool right = form->prokind == PROKIND_FUNCTION && !form->proretset && form->prorettype == signature.result;
    ReleaseSysCache(tuple);
    return {oid, right};
}

[[noreturn]] void raise_missing(const std::string &name, const Signature &signature) {
    raise(ERRCODE_UNDEFINED_FUNCTION,
          {.message = "function \"" + name + "\" with the signature that is needed does not exist",
           .hint = std::string("It must look like this: ") + signature.text + "."});
}

void require_execute(Oid function, const std::string &name, Oid role) {
    if (call([&]() noexcept { return compat::may_execute(function, role); }))
        return;
    std::string who = call([&]() noexcept { return GetUserNameFromId(role, false); });
    raise(ERRCODE_INSUFFICIENT_PRIVILEGE, {.message = "permission denied for function " + name,
                                           .hint = "GRANT EXECUTE on it to role \"" + who + "\"."});
}

} // namespace

std::string resolve_function(const std::string &name, const Signature &signature) {
    const char *text = name.c_str();
    Found found = call([&]() noexcept { return look_up(text, signature); });
    if (!OidIsValid(found.oid))
        raise_missing(name, signature);
    if (!found.right_kind)
        raise(ERRCODE_WRONG_OBJECT_TYPE,
              {.message = "\"" + name + "\" has the right arguments, but is no plain function with the right result",
               .hint = std::string("It must look like this: ") + signature.text + "."});
    require_execute(found.oid, name, GetUserId());
    return call([&]() noexcept {
        return quote_qualified_identifier(get_namespace_name(get_func_namespace(found.oid)), get_func_name(found.oid));
    });
}

Oid find_function(const std::string &stored, const Signature &signature) {
    const char *text = stored.c_str();
    Found found = call([&]() noexcept { return look_up(text, signature); });
    return found.right_kind ? found.oid : InvalidOid;
}

// The text is taken again when pg_proc's row is another one (PL/pgSQL finds out the same way).
int64 function_hash(Oid function) {
    struct Known {
        TransactionId xmin;
        ItemPointerData tid;
        int64 hash;
    };
    static std::unordered_map<Oid, Known> *known = nullptr;
    if (!known)
        known = new std::unordered_map<Oid, Known>();
    Known now = call([&]() noexcept {
        HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
        if (!HeapTupleIsValid(tuple))
            return Known{};
        Known row{HeapTupleHeaderGetRawXmin(tuple->t_data), tuple->t_self, 0};
        ReleaseSysCache(tuple);
        return row;
    });
    Known &last = (*known)[function];
    if (last.xmin != now.xmin || !ItemPointerEquals(&last.tid, &now.tid)) {
        GucScope settings; // every name is written with its schema
        settings.set("search_path", "pg_catalog, pg_temp");
        now.hash = call([&]() noexcept {
            char *definition = TextDatumGetCString(DirectFunctionCall1(pg_get_functiondef, ObjectIdGetDatum(function)));
            return static_cast<int64>(hash_bytes_extended(reinterpret_cast<unsigned char *>(definition),
                                                          static_cast<int>(strlen(definition)), 0));
        });
        last = now;
    }
    return last.hash;
}

UserFunction::UserFunction(const std::string &stored, const Signature &signature, Oid role) : count_(signature.count) {
    Oid oid = find_function(stored, signature);
    if (!OidIsValid(oid))
        raise_missing(stored, signature);
    require_execute(oid, stored, role);
    pg::call([&]() noexcept { fmgr_info(oid, &info_); });
}

NullableDatum UserFunction::call_unguarded(const NullableDatum *arguments) noexcept {
    LOCAL_FCINFO(fcinfo, Signature::max_arguments);
    InitFunctionCallInfoData(*fcinfo, &info_, static_cast<short>(count_), InvalidOid, nullptr, nullptr);
    for (int i = 0; i < count_; i++) {
        if (arguments[i].isnull && info_.fn_strict)
            return {Datum(0), true};
        fcinfo->args[i] = arguments[i];
    }
    PgStat_FunctionCallUsage usage;
    pgstat_init_function_usage(fcinfo, &usage);
    Datum result = FunctionCallInvoke(fcinfo);
    pgstat_end_function_usage(&usage, true);
    return {result, fcinfo->isnull};
}

NullableDatum UserFunction::call(const NullableDatum *arguments) {
    return pg::call([&]() noexcept { return call_unguarded(arguments); });
}

} // namespace chronicle::pg
