// Staging tables: a statement projection is computed anew in a table of the same name and shape as its target, alone in
// a schema that is put before the owner's search_path. That is why the contract wants the target unqualified in the
// statement: the same text then writes the staging table.
//
//   create    the schema belongs to the engine, the table to the owner (what its indexes and checks call runs as the
//             owner, also in autovacuum). LIKE … INCLUDING ALL: the same keys, checks, defaults, generated columns. No
//             foreign keys and no triggers: nothing happens twice. Schema and table go with DROP EXTENSION (a
//             dependency of the kind "depends on extension"), are no members of it, and so are dumped like other
//             tables.
//   check     each time the statement is planned: it must write the staging table, nothing else, and not read the live
//             one, or it would do its work twice or build on rows that are to be replaced.
//   equal     DELETE, UPDATE, INSERT of what differs, matched by the primary key: row locks only, so readers are not
//             kept waiting; what is equal is not written. Triggers and foreign keys of the target see it like any
//             write. With other unique indexes a changed row is deleted and inserted: values may have changed places.
//
// Rows are compared by their bytes (record_image_ne): every type has that.
//
// Refused (55000): a target that is no table with a primary key; columns filled by a sequence, because their values do
// not come from events; BEFORE ROW triggers and rules, which would make other rows of them; row level security that
// applies to the owner; a table that is also another projection's target.
#include "projection/staging.hpp"

#include "access/access.hpp"
#include "projection/batch.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_extension_d.h"
#include "catalog/pg_namespace_d.h"
#include "commands/extension.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
}

namespace chronicle::projection {

namespace {

[[noreturn]] void refuse(const Projection &p, const std::string &why, const std::string &hint) {
    pg::raise(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
              {.message = "the target of projection \"" + p.name + "\" " + why, .hint = hint});
}

std::string identifier(const std::string &name) {
    const char *text = name.c_str();
    return pg::call([&]() noexcept { return quote_identifier(text); });
}

// --- the target ---

[[noreturn]] void raise_no_target(const Projection &p) {
    pg::raise(ERRCODE_UNDEFINED_TABLE, {.message = "the target of projection \"" + p.name + "\", table \"" +
                                                   *p.options.target + "\", does not exist",
                                        .hint = "Option \"target\" names the table that the statement writes."});
}

// By the name that the statement knows it by.
Oid resolve(const Projection &p) {
    access::OwnerScope owner(owner_of(p), p.search_path);
    pg::Spi spi;
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT pg_catalog.to_regclass($1)::pg_catalog.oid, pg_catalog.row_security_active("
                              "pg_catalog.to_regclass($1)::pg_catalog.oid)",
                              types};
    pg::Values values;
    pg::Rows rows = find.run(values.text(*p.options.target));
    if (rows[0].null(1))
        raise_no_target(p);
    if (rows[0].boolean(2))
        refuse(p, "has row level security that applies to the owner", "Not all of its rows can be seen.");
    bool is_null;
    return DatumGetObjectId(rows[0].datum(1, &is_null));
}

void check_target(const Projection &p, Oid oid) {
    static constexpr Oid types[] = {OIDOID};
    static pg::Statement look{
        "SELECT c.relkind IN ('r', 'p'), c.relhasrules OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid "
        "AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 3 = 3), EXISTS (SELECT FROM pg_attribute a "
        "WHERE a.attrelid = c.oid AND a.attidentity <> '') OR EXISTS (SELECT FROM pg_attrdef d "
        "JOIN pg_depend x ON x.classid = 'pg_attrdef'::regclass AND x.objid = d.oid "
        "AND x.refclassid = 'pg_class'::regclass JOIN pg_class q ON q.oid = x.refobjid AND q.relkind = 'S' "
        "WHERE d.adrelid = c.oid), EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) "
        "FROM pg_class c WHERE c.oid = $1",
        types};
    access::EngineScope engine;
    pg::Values values;
    pg::Row row = look.run(values.add(ObjectIdGetDatum(oid)))[0];
    if (!row.boolean(1) || !row.boolean(4))
        refuse(p, "is not a table with a primary key", "Rows are told apart by their primary key.");
    if (row.boolean(2))
        refuse(p, "has rules or BEFORE ROW triggers", "They would change the rows that are computed.");
    if (row.boolean(3))
        refuse(p, "has a column that is filled by a sequence", "Its values do not come from events.");
}

bool has_target(const Projection &p, Oid oid) {
    if (!p.options.target || !OidIsValid(access::find_role(p.owner)))
        return false;
    bool same = false;
    (void)pg::attempt([&]() { // what it names need be no table's name
        access::OwnerScope owner(owner_of(p), p.search_path);
        pg::Spi spi;
        static constexpr Oid types[] = {TEXTOID, OIDOID};
        static pg::Statement find{"SELECT pg_catalog.to_regclass($1)::pg_catalog.oid OPERATOR(pg_catalog.=) $2", types};
        pg::Values values;
        pg::Row row = find.run(values.text(*p.options.target).add(ObjectIdGetDatum(oid)))[0];
        same = !row.null(1) && row.boolean(1);
    });
    return same;
}

void check_others(const Projection &p, Oid oid) {
    std::vector<ProjectionPointer> all = all_projections();
    for (const ProjectionPointer &other : all) {
        if (other->id != p.id && has_target(*other, oid))
            refuse(p, "is the target of another projection, too",
                   "One projection's rows cannot be told from another's.");
    }
}

// --- texts ---

std::string join(const std::vector<std::string> &names, const std::string &before, const std::string &between) {
    std::string text;
    for (const std::string &name : names)
        text += (text.empty() ? "" : between) + before + name;
    return text;
}

constexpr const char *live = "\"$live\".", *fresh = "\"$staged\".";

std::string same_key(const Target &t) {
    std::string text;
    for (const Target::Key &key : t.keys)
        text += (text.empty() ? "" : " AND ") + (live + key.column) + " " + key.equality + " " + fresh + key.column;
    return text;
}

std::string differs(const Target &t) {
    if (t.others.empty())
        return "false";
    auto row = [&](const char *of) { return "ROW(" + join(t.others, of, ", ") + ")::pg_catalog.record"; };
    return row(live) + " OPERATOR(pg_catalog.*<>) " + row(fresh);
}

std::string staging_of(const Target &t, const std::string &schema) { return schema + "." + t.table; }

Oid find_staging(const std::string &schema) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                              "WHERE n.nspname = $1 AND c.relkind = 'r'",
                              types};
    access::EngineScope engine;
    pg::Values values;
    pg::Rows rows = find.run(values.text(schema));
    if (rows.empty())
        return InvalidOid;
    bool is_null;
    return DatumGetObjectId(rows[0].datum(1, &is_null));
}

bool same_columns(Oid target, Oid staging) {
    static constexpr Oid types[] = {OIDOID, OIDOID};
    static pg::Statement look{
        "SELECT count(*) FROM (SELECT a.attname, a.atttypid, a.atttypmod, a.attgenerated FROM pg_attribute a "
        "WHERE a.attrelid IN ($1, $2) AND a.attnum > 0 AND NOT a.attisdropped GROUP BY 1, 2, 3, 4 "
        "HAVING count(*) <> 2) d",
        types};
    access::EngineScope engine;
    pg::Values values;
    return look.run(values.add(ObjectIdGetDatum(target)).add(ObjectIdGetDatum(staging)))[0].int8(1) == 0;
}

void depend_on_extension(const std::string &schema, Oid table) {
    const char *name = schema.c_str();
    pg::call([&]() noexcept {
        ObjectAddress extension, object;
        ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("chronicle", false));
        ObjectAddressSet(object, NamespaceRelationId, get_namespace_oid(name, false));
        recordDependencyOn(&object, &extension, DEPENDENCY_AUTO_EXTENSION);
        ObjectAddressSet(object, RelationRelationId, table);
        recordDependencyOn(&object, &extension, DEPENDENCY_AUTO_EXTENSION);
    });
}

} // namespace

void require_target(const Projection &p) {
    static constexpr Oid types[] = {TEXTOID};
    static pg::Statement find{"SELECT pg_catalog.to_regclass($1) IS NULL", types};
    pg::Spi spi;
    pg::Values values;
    if (find.run(values.text(*p.options.target))[0].boolean(1))
        raise_no_target(p);
}

Target find_target(const Projection &p) {
    Target target;
    target.oid = resolve(p);
    check_target(p, target.oid);
    check_others(p, target.oid);
    static constexpr Oid types[] = {OIDOID};
    static pg::Statement name{"SELECT quote_ident(c.relname), quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
                              "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indisprimary "
                              "AND (i.indisunique OR i.indisexclusion)) FROM pg_class c "
                              "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
                              types};
    static pg::Statement columns{
        "SELECT quote_ident(a.attname), a.attgenerated <> '', array_position(i.indkey::int2[], a.attnum) < "
        "i.indnkeyatts, (SELECT 'OPERATOR(' || quote_ident(s.nspname) || '.' || o.oprname || ')' FROM pg_opclass c "
        "JOIN pg_amop e ON e.amopfamily = c.opcfamily AND e.amoplefttype = c.opcintype "
        "AND e.amoprighttype = c.opcintype AND e.amopstrategy = 3 JOIN pg_operator o ON o.oid = e.amopopr "
        "JOIN pg_namespace s ON s.oid = o.oprnamespace "
        "WHERE c.oid = i.indclass[array_position(i.indkey::int2[], a.attnum)]) FROM pg_attribute a JOIN pg_index i "
        "ON i.indrelid = a.attrelid AND i.indisprimary WHERE a.attrelid = $1 AND a.attnum > 0 "
        "AND NOT a.attisdropped ORDER BY a.attnum",
        types};
    access::EngineScope engine;
    pg::Values values, same;
    pg::Row row = name.run(values.add(ObjectIdGetDatum(target.oid)))[0];
    target.table = row.text(1);
    target.qualified = row.text(2);
    target.other_unique = row.boolean(3);
    pg::Rows rows = columns.run(same.add(ObjectIdGetDatum(target.oid)));
    for (uint64 i = 0; i < rows.count; i++) {
        bool is_generated = rows[i].boolean(2), is_key = !rows[i].null(3) && rows[i].boolean(3);
        if (is_key)
            target.keys.push_back({rows[i].text(1), rows[i].maybe_text(4).value_or("=")});
        if (!is_generated)
            target.columns.push_back(rows[i].text(1));
        if (!is_generated && !is_key)
            target.others.push_back(rows[i].text(1));
    }
    return target;
}

std::string rebuild_schema(int64 id) { return "chronicle_rebuild_" + std::to_string(id); }

void create_staging(const Projection &p, const Target &target, const std::string &schema) {
    std::string owner_name = identifier(p.owner);
    {
        access::EngineScope engine;
        (void)pg::run_sql("CREATE SCHEMA " + schema);
        (void)pg::run_sql("GRANT USAGE, CREATE ON SCHEMA " + schema + " TO " + owner_name);
    }
    {
        access::OwnerScope owner(owner_of(p), p.search_path);
        pg::Spi spi;
        (void)pg::run_sql("CREATE TABLE " + staging_of(target, schema) + " (LIKE " + target.qualified +
                          " INCLUDING ALL EXCLUDING COMMENTS)");
    }
    {
        access::EngineScope engine;
        (void)pg::run_sql("REVOKE CREATE ON SCHEMA " + schema + " FROM " + owner_name);
    }
    depend_on_extension(schema, find_staging(schema));
}

void drop_staging(const std::string &schema) {
    access::EngineScope engine;
    pg::GucScope quiet;
    quiet.set("client_min_messages", "warning");
    (void)pg::run_sql("DROP SCHEMA IF EXISTS " + schema + " CASCADE");
}

void lock_staging(const std::string &schema, int patience_ms) {
    Oid table = find_staging(schema);
    if (!OidIsValid(table))
        return;
    pg::LockTimeoutScope patience(patience_ms);
    pg::call([&]() noexcept { LockRelationOid(table, AccessExclusiveLock); });
}

Projection staged(const Projection &p, const Target &target, const std::string &schema) {
    Projection copy = p;
    copy.staging = find_staging(schema);
    copy.target = target.oid;
    copy.search_path = schema + (p.search_path.empty() ? "" : ", " + p.search_path);
    if (!OidIsValid(copy.staging))
        pg::raise(ERRCODE_UNDEFINED_TABLE,
                  {.message = "the staging table " + staging_of(target, schema) + " does not exist any more",
                   .hint = "rebuild_projection starts anew."});
    if (!same_columns(copy.target, copy.staging))
        refuse(p, "has been altered since the rebuild began", "rebuild_projection starts anew.");
    return copy;
}

void check_staged_statement(const Projection &staged) {
    access::OwnerScope owner(owner_of(staged), staged.search_path);
    check_statement(staged);
}

void check_relations(SPIPlanPtr plan, const Projection &staged) {
    struct Found {
        bool reads_live = false, writes_other = false;
    };
    Found found = pg::call([&]() noexcept {
        Found seen;
        auto look = [&](const Query *query) {
            seen.writes_other |= query->commandType != CMD_SELECT && query->resultRelation > 0 &&
                                 rt_fetch(query->resultRelation, query->rtable)->relid != staged.staging;
        };
        ListCell *source_cell, *query_cell, *cte_cell;
        foreach (source_cell, SPI_plan_get_plan_sources(plan)) {
            CachedPlanSource *source = static_cast<CachedPlanSource *>(lfirst(source_cell));
            seen.reads_live |= list_member_oid(source->relationOids, staged.target);
            foreach (query_cell, source->query_list) { // after rules and views; only they can hold others that write
                Query *query = static_cast<Query *>(lfirst(query_cell));
                look(query);
                foreach (cte_cell, query->cteList) {
                    Node *cte = static_cast<CommonTableExpr *>(lfirst(cte_cell))->ctequery;
                    if (IsA(cte, Query))
                        look(reinterpret_cast<Query *>(cte));
                }
            }
        }
        return seen;
    });
    if (found.reads_live)
        refuse(staged, "is named with its schema in the statement, or read through a view",
               "Write it as in the option \"target\", without the schema.");
    if (found.writes_other)
        refuse(staged, "is not the only table that the statement writes", "Its other effects would happen twice.");
}

void make_equal(const Projection &p, const Target &t, const std::string &schema) {
    std::string here = t.qualified + " AS \"$live\"", there = staging_of(t, schema) + " AS \"$staged\"",
                columns = join(t.columns, "", ", "), sets;
    for (const std::string &column : t.others)
        sets += (sets.empty() ? "" : ", ") + column + " = " + fresh + column;
    std::string keep = t.other_unique ? " AND NOT " + differs(t) : "";
    access::OwnerScope owner(owner_of(p), p.search_path);
    pg::Spi spi;
    (void)pg::run_sql("DELETE FROM " + here + " WHERE NOT EXISTS (SELECT FROM " + there + " WHERE " + same_key(t) +
                      keep + ")");
    if (!sets.empty())
        (void)pg::run_sql("UPDATE " + here + " SET " + sets + " FROM " + there + " WHERE " + same_key(t) + " AND " +
                          differs(t));
    (void)pg::run_sql("INSERT INTO " + t.qualified + " (" + columns + ") SELECT " + join(t.columns, fresh, ", ") +
                      " FROM " + there + " WHERE NOT EXISTS (SELECT FROM " + here + " WHERE " + same_key(t) + ")");
}

// A snapshot that was taken before sees what this transaction did since, when its command counter is put forward: SPI
// does that for statements that may write.
pg::Rows compare(const Projection &p, const Target &t, const std::string &schema, Snapshot snapshot) {
    std::string key = t.keys.size() == 1 ? "" : "ROW(", absent = std::string(" IS NULL");
    std::vector<std::string> either;
    for (const Target::Key &name : t.keys)
        either.push_back("coalesce(" + (live + name.column) + ", " + fresh + name.column + ")");
    key += join(either, "", ", ") + (t.keys.size() == 1 ? "" : ")");
    std::string no_live = live + t.keys.front().column + absent, no_staged = fresh + t.keys.front().column + absent;
    std::string text = "SELECT (" + key + ")::pg_catalog.text, CASE WHEN " + no_live +
                       " THEN NULL ELSE pg_catalog.to_jsonb(\"$live\".*) END, CASE WHEN " + no_staged +
                       " THEN NULL ELSE pg_catalog.to_jsonb(\"$staged\".*) END FROM " + t.qualified +
                       " AS \"$live\" FULL JOIN " + staging_of(t, schema) + " AS \"$staged\" ON " + same_key(t) +
                       " WHERE " + no_live + " OR " + no_staged + " OR " + differs(t) + " ORDER BY 1";
    const char *sql = text.c_str();
    int code = pg::call([&]() noexcept {
        SPIPlanPtr plan = SPI_prepare(sql, 0, nullptr);
        if (!plan)
            elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
        return SPI_execute_snapshot(plan, nullptr, nullptr, snapshot, InvalidSnapshot, false, false, 0);
    });
    if (code != SPI_OK_SELECT)
        pg::raise(ERRCODE_INTERNAL_ERROR, {.message = "cannot compare with the staging table of " + p.name});
    return {SPI_tuptable, SPI_processed};
}

} // namespace chronicle::projection
