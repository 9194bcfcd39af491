// Users' functions that we call: found by name and signature, kept by qualified name, called directly (no SQL around
// them), so a call costs what PL/pgSQL or SQL itself costs. As whom they run is the caller's scope: access::OwnerScope.
#pragma once

#include "pg/guard.hpp"

extern "C" {
#include "fmgr.h"
}

namespace chronicle::pg {

/// What a function must look like to be of use. Types match exactly.
struct Signature {
    static constexpr int max_arguments = 4;
    const char *text; // for people: "validator(data jsonb) returns text"
    int count;
    Oid arguments[max_arguments];
    Oid result;
};

/// The stored form ("schema.name", quoted where it must be) of a function that the user named, which is looked up along
/// search_path. 42883 with the signature in the HINT when there is none of that name and signature; 42501 when the
/// current user may not execute it; 42809 for procedures, aggregates, window functions and sets.
std::string resolve_function(const std::string &name, const Signature &signature);

/// A function by its stored form, ready to be called. It lives in the memory context that is current when it is made,
/// so it is for a statement or a batch, not for the process: what CREATE OR REPLACE changes is seen by the next one.
class UserFunction {
public:
    /// 42883 when it is gone, 42501 when `role` may not execute it (any more).
    UserFunction(const std::string &stored, const Signature &signature, Oid role);
    /// Calls it. A STRICT function with a NULL argument is not called, as in SQL: the result is NULL.
    NullableDatum call(const NullableDatum *arguments);
    bool strict() const { return info_.fn_strict; }
    Oid oid() const { return info_.fn_oid; }
    /// Where its code is: functions of our own are known by it.
    PGFunction address() const { return info_.fn_addr; }
    /// The same, for a caller that is in a guarded loop of its own.
    NullableDatum call_unguarded(const NullableDatum *arguments) noexcept;

private:
    FmgrInfo info_;
    int count_;
};

/// The function's OID, or InvalidOid: for a look without an error.
Oid find_function(const std::string &stored, const Signature &signature);

/// A hash of the function's definition: it is another one when the function was replaced by one that differs.
int64 function_hash(Oid function);

} // namespace chronicle::pg
