// set_owner. As with ALTER … OWNER TO, the caller must be allowed to act for the former owner and to be the new one: it
// could create the object as that role just as well. The former owner may be gone: then admins act for it.
#include "core/json.hpp"

#include "access/owner.hpp"

#include "access/rights.hpp"

namespace chronicle::access {

namespace {

constexpr int max_kinds = 8;
OwnedKind kinds[max_kinds];
int kind_count = 0;

const OwnedKind &find_kind(const std::string &name) {
    std::string known;
    for (int i = 0; i < kind_count; i++) {
        if (name == kinds[i].kind)
            return kinds[i];
        known += (i == 0 ? "" : ", ") + std::string(kinds[i].kind);
    }
    pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
              {.message = "unknown kind \"" + name + "\"", .hint = "Kinds are " + known + "."});
}

void check_new_owner(const std::string &role) {
    if (!may_run_as(role))
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "must be member of role \"" + role + "\"", .hint = "Its code would run as that role."});
    if (level_of(find_role(role)) < Level::operator_)
        pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                  {.message = "role \"" + role + "\" may own nothing: it is no operator",
                   .hint = "An admin can run: SELECT chronicle.grant_access(" + quoted(role) + ", 'operator')."});
}

} // namespace

void add_owned_kind(const OwnedKind &kind) {
    Assert(kind_count < max_kinds);
    kinds[kind_count++] = kind;
}

CHRONICLE_FUNCTION(chronicle_set_owner) {
    pg::Arguments arguments(fcinfo);
    const std::string kind_name = arguments.required_text(0, "kind");
    const OwnedKind &kind = find_kind(kind_name);
    std::string name = arguments.required_text(1, "name");
    if (arguments.null(2))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"role\" must not be NULL"});
    Oid oid = DatumGetObjectId(arguments.datum(2));
    std::string role = pg::call([&]() noexcept { return GetUserNameFromId(oid, false); });
    for (;;) { // until nobody else has given it away in between
        std::optional<std::string> former = kind.owner_of(name);
        if (!former)
            pg::raise(ERRCODE_UNDEFINED_OBJECT, {.message = std::string(kind.kind) + " \"" + name + "\" does not exist",
                                                 .detail = core::json{{"kind", kind.kind}, {"name", name}}.dump()});
        if (!may_act_for(*former))
            pg::raise(ERRCODE_INSUFFICIENT_PRIVILEGE,
                      {.message = std::string("must be owner of ") + kind.kind + " \"" + name + "\"",
                       .hint = "Its owner, a member of the owner's role, or an admin can."});
        check_new_owner(role);
        if (*former == role || kind.give(name, *former, role))
            break;
        pg::check_interrupts();
    }
    PG_RETURN_VOID();
}

} // namespace chronicle::access
