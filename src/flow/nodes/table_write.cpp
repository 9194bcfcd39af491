// table.write: the rows of its input into a table, column by column name. insert adds, upsert updates rows with the
// same keys (default: the primary key), replace empties the table first. Output: one row, rows_written.
#include "flow/node.hpp"

#include "pg/spi.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "nodes/bitmapset.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/varlena.h"
}

namespace chronicle::flow {

namespace {

std::string quoted(const std::string &name) { return quote_identifier(name.c_str()); }

std::string column_list(const std::vector<std::string> &names) {
    std::string list;
    for (const std::string &name : names)
        list += (list.empty() ? "" : ", ") + quoted(name);
    return list;
}

std::vector<std::string> columns_of(const Rows &rows) {
    std::vector<std::string> names;
    for (int i = 0; i < rows.columns->natts; i++)
        names.emplace_back(NameStr(TupleDescAttr(rows.columns, i)->attname));
    return names;
}

struct Target {
    Oid oid;
    char *qualified; // quoted, with its schema
};

// 42P01 when there is no such table, 42P01's own hints included.
Target find_table(const std::string &name) {
    const char *text = name.c_str();
    return pg::call([&]() noexcept {
        RangeVar *range = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(text)));
        Oid oid = RangeVarGetRelid(range, NoLock, false);
        char *schema = get_namespace_name(get_rel_namespace(oid));
        return Target{oid, quote_qualified_identifier(schema, get_rel_name(oid))};
    });
}

std::vector<std::string> primary_key(const Target &target) {
    std::vector<std::string> names;
    Bitmapset *keys = pg::call([&]() noexcept {
        Relation relation = relation_open(target.oid, AccessShareLock);
        Bitmapset *found = bms_copy(RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_PRIMARY_KEY));
        relation_close(relation, NoLock);
        return found;
    });
    for (int i = -1; (i = bms_next_member(keys, i)) >= 0;) {
        AttrNumber number = static_cast<AttrNumber>(i + FirstLowInvalidHeapAttributeNumber);
        names.emplace_back(pg::call([&]() noexcept { return get_attname(target.oid, number, false); }));
    }
    return names;
}

std::vector<std::string> keys_for_upsert(NodeContext &context, const Target &target) {
    core::json configured = context.config("keys");
    if (configured.is_array() && !configured.empty())
        return configured.get<std::vector<std::string>>();
    std::vector<std::string> keys = primary_key(target);
    if (keys.empty())
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE,
                  {.message = std::string("table ") + target.qualified + " has no primary key to upsert by",
                   .hint = "Name the columns of a unique constraint in the config's \"keys\"."});
    return keys;
}

std::string conflict_clause(const std::vector<std::string> &columns, const std::vector<std::string> &keys) {
    std::string updates;
    for (const std::string &column : columns)
        if (std::find(keys.begin(), keys.end(), column) == keys.end())
            updates += (updates.empty() ? "" : ", ") + quoted(column) + " = excluded." + quoted(column);
    return " ON CONFLICT (" + column_list(keys) + ") DO " + (updates.empty() ? "NOTHING" : "UPDATE SET " + updates);
}

NodeOutput written(int64 count) {
    TupleDesc columns = pg::call([]() noexcept {
        TupleDesc desc = CreateTemplateTupleDesc(1);
        TupleDescInitEntry(desc, 1, "rows_written", INT8OID, -1, 0);
        return desc;
    });
    Rows rows = make_rows(columns);
    Datum value = Int64GetDatum(count);
    bool null = false;
    add_row(rows, &value, &null);
    return {rows, count};
}

} // namespace

NodeOutput run_table_write(NodeContext &context) {
    std::vector<std::string> columns = columns_of(context.input_rows());
    Target target = find_table(context.text("table"));
    std::string mode = context.text("mode"), list = column_list(columns);
    if (mode == "replace")
        run_statement(std::string("DELETE FROM ") + target.qualified, core::json::object(), context);
    std::string sql = std::string("INSERT INTO ") + target.qualified + " (" + list + ") SELECT " + list + " FROM input";
    if (mode == "upsert")
        sql += conflict_clause(columns, keys_for_upsert(context, target));
    return written(run_statement(sql, core::json::object(), context).touched);
}

} // namespace chronicle::flow
