// The SQL functions that give and take rights. Rows hold role names, so that a dump restored elsewhere means the same.
#include "access/rights.hpp"
#include "catalog/names.hpp"

namespace chronicle::access {

namespace {

// The role's name; 42704 when there is none.
std::string role_argument(const pg::Arguments &arguments) {
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"role\" must not be NULL"});
    Oid role = DatumGetObjectId(arguments.datum(0));
    return std::string(pg::call([&]() noexcept { return GetUserNameFromId(role, false); }));
}

void change_level(FunctionCallInfo fcinfo, bool grant) {
    pg::Arguments arguments(fcinfo);
    if (arguments.null(0))
        pg::raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "argument \"role\" must not be NULL"});
    Level level = parse_level(arguments.required_text(1, "level"));
    std::string role = role_argument(arguments);
    require(Level::admin, "change access levels");

    static constexpr Oid two_texts[] = {TEXTOID, TEXTOID};
    // Who reads the level to change it must be the only one: a lower grant would undo a higher one beside it.
    static pg::Statement lock{"LOCK TABLE chronicle_data.access_level IN SHARE ROW EXCLUSIVE MODE"};
    static pg::Statement raise_level{"INSERT INTO chronicle_data.access_level AS l (role, level) VALUES ($1, $2) "
                                     "ON CONFLICT (role) DO UPDATE SET level = excluded.level",
                                     two_texts};
    static constexpr Oid one_text[] = {TEXTOID};
    static pg::Statement current{"SELECT level FROM chronicle_data.access_level WHERE role = $1", one_text};
    static pg::Statement remove{"DELETE FROM chronicle_data.access_level WHERE role = $1", one_text};

    EngineScope engine;
    pg::NewestScope newest;
    lock.run();
    pg::Values by_name;
    by_name.text(role);
    pg::Rows rows = current.run(by_name);
    Level now = rows.empty() ? Level::none : parse_level(rows[0].text(1));
    Level wanted = grant ? std::max(now, level) : std::min(now, static_cast<Level>(static_cast<int>(level) - 1));
    if (wanted == now)
        return;
    pg::Values values;
    values.text(role);
    if (wanted == Level::none)
        remove.run(values);
    else
        raise_level.run(values.text(level_name(wanted)));
    levels_changed();
}

std::string category_argument(const pg::Arguments &arguments) {
    std::string category = arguments.required_text(1, "category");
    catalog::check_name(category, "category");
    if (category.find('-') != std::string::npos)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = "\"" + category + "\" is no category: a category has no \"-\"",
                   .hint = "The category of a stream is the part of its name before the first \"-\"."});
    if (category.front() == '$' || category == catalog::workflow_category)
        pg::raise(ERRCODE_RESERVED_NAME,
                  {.message = "category \"" + category + "\" is reserved",
                   .hint = "Events of runs go by the rights on the run, and what happened to a stream is seen by those "
                           "who see the stream."});
    return category;
}

void change_category(FunctionCallInfo fcinfo, bool grant) {
    pg::Arguments arguments(fcinfo);
    std::string role = role_argument(arguments);
    std::string category = category_argument(arguments);
    std::string privilege = arguments.required_text(2, "privilege");
    if (privilege != "read" && privilege != "append")
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "unknown privilege \"" + privilege + "\"",
                                                    .hint = "Privileges on a category are read and append."});
    require(Level::admin, "change rights on categories");

    static constexpr Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
    static pg::Statement add{"INSERT INTO chronicle_data.access_category (role, category, privilege) "
                             "VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                             types};
    static pg::Statement remove{
        "DELETE FROM chronicle_data.access_category WHERE role = $1 AND category = $2 AND privilege = $3", types};
    EngineScope engine;
    pg::Values values;
    values.text(role).text(category).text(privilege);
    if ((grant ? add : remove).run(values).count > 0)
        categories_changed();
}

} // namespace

CHRONICLE_FUNCTION(chronicle_grant_access) {
    change_level(fcinfo, true);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_revoke_access) {
    change_level(fcinfo, false);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_grant_category) {
    change_category(fcinfo, true);
    PG_RETURN_VOID();
}

CHRONICLE_FUNCTION(chronicle_revoke_category) {
    change_category(fcinfo, false);
    PG_RETURN_VOID();
}

} // namespace chronicle::access
