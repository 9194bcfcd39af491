// sequence.numbers and memory.collection: rows out of the definition itself.
#include "core/collection.hpp"
#include "core/generate.hpp"

#include "flow/node.hpp"
#include "pg/memory.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
}

namespace chronicle::flow {

namespace {

Oid type_oid(core::ValueType type) {
    switch (type) {
    case core::ValueType::bigint:
        return INT8OID;
    case core::ValueType::float8:
        return FLOAT8OID;
    case core::ValueType::text:
        return TEXTOID;
    case core::ValueType::boolean:
        return BOOLOID;
    case core::ValueType::jsonb:
        return JSONBOID;
    }
    return TEXTOID;
}

Oid type_oid(core::ColumnType type) {
    switch (type) {
    case core::ColumnType::bigint:
        return INT8OID;
    case core::ColumnType::numeric:
        return NUMERICOID;
    case core::ColumnType::boolean:
        return BOOLOID;
    case core::ColumnType::text:
        return TEXTOID;
    case core::ColumnType::jsonb:
        return JSONBOID;
    }
    return TEXTOID;
}

TupleDesc describe(const std::vector<std::pair<std::string, Oid>> &columns) {
    int count = static_cast<int>(columns.size());
    TupleDesc desc = pg::call([&]() noexcept { return CreateTemplateTupleDesc(count); });
    for (int i = 0; i < count; i++) {
        const auto &[name, type] = columns[static_cast<size_t>(i)];
        const char *text = name.c_str();
        pg::call(
            [&, oid = type]() noexcept { TupleDescInitEntry(desc, static_cast<AttrNumber>(i + 1), text, oid, -1, 0); });
    }
    return desc;
}

Datum from_text(Oid type, const std::string &text) {
    std::string copy = text;
    char *form = copy.data();
    return pg::call([&]() noexcept {
        Oid function, parameter;
        getTypeInputInfo(type, &function, &parameter);
        return OidInputFunctionCall(function, form, parameter, -1);
    });
}

Datum to_datum(const core::Value &value, core::ValueType type, bool *is_null) {
    *is_null = std::holds_alternative<std::monostate>(value);
    if (const int64_t *integer = std::get_if<int64_t>(&value))
        return Int64GetDatum(*integer);
    if (const double *real = std::get_if<double>(&value))
        return Float8GetDatum(*real);
    if (const bool *boolean = std::get_if<bool>(&value))
        return BoolGetDatum(*boolean);
    if (const std::string *text = std::get_if<std::string>(&value))
        return from_text(type_oid(type), *text);
    return Datum(0);
}

struct Field {
    std::string name;
    core::Generator generator;
};

std::vector<Field> generators_of(const core::json &fields) {
    std::vector<Field> result;
    for (const auto &[name, text] : fields.items()) {
        core::Result<core::Generator> parsed =
            core::parse_generator(text.is_string() ? text.get<std::string>() : core::write_json(text));
        if (!parsed)
            pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "field \"" + name + "\": " + parsed.problem});
        result.push_back({name, *parsed});
    }
    if (result.empty())
        result.push_back({"value", core::Generator{}});
    return result;
}

core::Random seeded() {
    core::Random random;
    if (!pg_strong_random(&random.state, sizeof(random.state)))
        pg::raise(ERRCODE_INTERNAL_ERROR, {.message = "could not generate random bytes"});
    return random;
}

} // namespace

NodeOutput run_sequence_numbers(NodeContext &context) {
    int64 start = context.integer("start"), step = context.integer("step");
    core::Result<int64_t> count = core::sequence_count(start, context.integer("end"), step);
    if (!count)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = count.problem});
    core::json configured = context.config("fields");
    std::vector<Field> fields = generators_of(configured.is_object() ? configured : core::json::object());
    std::vector<std::pair<std::string, Oid>> columns;
    for (const Field &field : fields)
        columns.emplace_back(field.name, type_oid(field.generator.type));

    Rows rows = make_rows(describe(columns));
    core::Random random = seeded();
    std::vector<Datum> values(fields.size());
    std::unique_ptr<bool[]> nulls(new bool[fields.size()]);
    pg::MemoryScope per_row("chronicle sequence");
    for (int64 row = 0; row < *count; row++) {
        int64 number = core::sequence_value(start, step, row);
        for (size_t i = 0; i < fields.size(); i++)
            values[i] = to_datum(fields[i].generator.produce(number, random), fields[i].generator.type, &nulls[i]);
        add_row(rows, values.data(), nulls.get());
        per_row.reset();
        pg::check_interrupts();
    }
    return {rows, *count};
}

NodeOutput run_memory_collection(NodeContext &context) {
    core::json data = context.config("data");
    core::Result<core::Columns> inferred = core::infer_columns(data);
    if (!inferred)
        pg::raise(ERRCODE_INVALID_PARAMETER_VALUE, {.message = "config \"data\": " + inferred.problem});
    std::vector<std::pair<std::string, Oid>> columns;
    for (const core::Column &column : inferred->columns)
        columns.emplace_back(column.name, type_oid(column.type));

    Rows rows = make_rows(describe(columns));
    std::vector<Datum> values(columns.size());
    std::unique_ptr<bool[]> nulls(new bool[columns.size()]);
    pg::MemoryScope per_row("chronicle collection");
    for (const core::json &element : data) {
        for (size_t i = 0; i < columns.size(); i++) {
            std::optional<std::string> cell = core::cell_text(*inferred, element, i);
            nulls[i] = !cell;
            values[i] = cell ? from_text(columns[i].second, *cell) : Datum(0);
        }
        add_row(rows, values.data(), nulls.get());
        per_row.reset();
    }
    return {rows, rows.count};
}

} // namespace chronicle::flow
