// The stored form of a row: per column a length (four bytes, -1 for NULL) and the text of the value. Text and not the
// binary form: every type has it, it survives pg_dump and pg_upgrade, and it is what PostgreSQL itself relies on when
// it dumps a table. Settings that change the text are fixed while it is written and read (as postgres_fdw does).
#include "core/json.hpp"

#include "flow/json.hpp"
#include "flow/rows.hpp"

#include "compat/compat.hpp"
#include "pg/spi.hpp"
#include "pg/xact.hpp"
#include "settings.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "parser/parse_type.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
}

namespace chronicle::flow {

namespace {

constexpr size_t chunk_bytes = 1024 * 1024;

MemoryContext home_memory = nullptr;
ResourceOwner home_owner = nullptr;
std::vector<Tuplestorestate *> *home_stores = nullptr; // to be ended: a spilled one owns a file

void fix_text_forms(pg::GucScope &settings) {
    settings.set("DateStyle", "ISO, YMD");
    settings.set("IntervalStyle", "postgres");
    settings.set("extra_float_digits", "3");
    settings.set("bytea_output", "hex");
    settings.set("xmloption", "content");
    settings.set("lc_monetary", "C");
    settings.set("search_path", "pg_catalog, pg_temp");
}

void append_length(std::string &chunk, int32 length) {
    chunk.append(reinterpret_cast<const char *>(&length), sizeof(length));
}

TupleDesc parse_columns(const std::string &columns_json) {
    core::json columns = to_json(columns_json);
    int count = static_cast<int>(columns.size());
    TupleDesc desc = pg::call([&]() noexcept { return CreateTemplateTupleDesc(count); });
    for (int i = 0; i < count; i++) {
        std::string name = columns[static_cast<size_t>(i)]["name"], type = columns[static_cast<size_t>(i)]["type"];
        const char *name_text = name.c_str(), *type_text = type.c_str();
        pg::call([&]() noexcept {
            Oid oid;
            int32 modifier;
            compat::parse_type(type_text, &oid, &modifier);
            TupleDescInitEntry(desc, static_cast<AttrNumber>(i + 1), name_text, oid, modifier, 0);
        });
    }
    return desc;
}

} // namespace

RowsHome::RowsHome() : exceptions_(std::uncaught_exceptions()) {
    home_memory = CurrentMemoryContext;
    home_owner = CurrentResourceOwner;
    if (!home_stores)
        home_stores = new std::vector<Tuplestorestate *>();
    home_stores->clear(); // what an abort left here is gone with its memory
}

RowsHome::~RowsHome() {
    home_memory = nullptr;
    home_owner = nullptr;
    if (pg::unwinding(exceptions_))
        return;
    for (Tuplestorestate *store : *home_stores)
        tuplestore_end(store);
    home_stores->clear();
}

MemoryContext rows_memory() { return home_memory; }

Rows make_rows(TupleDesc columns) {
    pg::MemorySwitch at_home(home_memory);
    ResourceOwner owner = std::exchange(CurrentResourceOwner, home_owner);
    Rows rows = pg::call([&]() noexcept {
        Rows made;
        made.columns = BlessTupleDesc(CreateTupleDescCopy(columns));
        made.store = tuplestore_begin_heap(true, false, work_mem);
        return made;
    });
    CurrentResourceOwner = owner;
    home_stores->push_back(rows.store);
    return rows;
}

void add_row(Rows &rows, const Datum *values, const bool *nulls) {
    pg::call([&]() noexcept {
        tuplestore_putvalues(rows.store, rows.columns, const_cast<Datum *>(values), const_cast<bool *>(nulls));
    });
    rows.count++;
}

std::string describe_columns(TupleDesc columns) {
    core::json described = core::json::array();
    for (int i = 0; i < columns->natts; i++) {
        Form_pg_attribute attribute = TupleDescAttr(columns, i);
        const char *type = pg::call([&]() noexcept {
            return format_type_extended(attribute->atttypid, attribute->atttypmod,
                                        FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
        });
        described.push_back({{"name", NameStr(attribute->attname)}, {"type", type}});
    }
    return described.dump();
}

std::vector<std::string> encode_rows(const Rows &rows) {
    pg::GucScope settings;
    fix_text_forms(settings);
    int columns = rows.columns->natts;
    std::vector<FmgrInfo> output(static_cast<size_t>(columns));
    for (int i = 0; i < columns; i++)
        pg::call([&]() noexcept {
            Oid function;
            bool is_varlena;
            getTypeOutputInfo(TupleDescAttr(rows.columns, i)->atttypid, &function, &is_varlena);
            fmgr_info(function, &output[static_cast<size_t>(i)]);
        });

    std::vector<std::string> chunks;
    std::string chunk;
    TupleTableSlot *slot =
        pg::call([&]() noexcept { return MakeSingleTupleTableSlot(rows.columns, &TTSOpsMinimalTuple); });
    pg::call([&]() noexcept {
        tuplestore_select_read_pointer(rows.store, 0); // scans of statements have left their own one selected
        tuplestore_rescan(rows.store);
    });
    pg::MemoryScope per_row("chronicle encode rows");
    while (pg::call([&]() noexcept { return tuplestore_gettupleslot(rows.store, true, false, slot); })) {
        for (int i = 0; i < columns; i++) {
            struct Text {
                const char *value;
            };
            Text text = pg::call([&]() noexcept {
                bool is_null;
                Datum value = slot_getattr(slot, i + 1, &is_null);
                return Text{is_null ? nullptr : OutputFunctionCall(&output[static_cast<size_t>(i)], value)};
            });
            int32 length = text.value ? static_cast<int32>(strlen(text.value)) : -1;
            append_length(chunk, length);
            if (text.value)
                chunk.append(text.value, static_cast<size_t>(length));
        }
        if (chunk.size() >= chunk_bytes)
            chunks.push_back(std::exchange(chunk, {}));
        // The slot frees a row that was read from a file; that lies in per_row.
        pg::call([&]() noexcept { ExecClearTuple(slot); });
        per_row.reset();
        pg::check_interrupts();
    }
    if (!chunk.empty())
        chunks.push_back(std::move(chunk));
    pg::call([&]() noexcept { ExecDropSingleTupleTableSlot(slot); });
    return chunks;
}

RowsDecoder::RowsDecoder(const std::string &columns_json) : rows_(make_rows(parse_columns(columns_json))) {
    for (int i = 0; i < rows_.columns->natts; i++) {
        Oid function, parameter;
        pg::call(
            [&]() noexcept { getTypeInputInfo(TupleDescAttr(rows_.columns, i)->atttypid, &function, &parameter); });
        input_functions_.push_back(function);
        type_parameters_.push_back(parameter);
    }
}

void RowsDecoder::add(std::string_view chunk) {
    pg::GucScope settings;
    fix_text_forms(settings);
    size_t columns = input_functions_.size();
    std::vector<FmgrInfo> input(columns);
    for (size_t i = 0; i < columns; i++)
        pg::call([&]() noexcept { fmgr_info(input_functions_[i], &input[i]); });
    std::vector<Datum> values(columns);
    std::unique_ptr<bool[]> nulls(new bool[columns]);
    pg::MemoryScope per_row("chronicle decode rows");
    std::string text;
    for (size_t at = 0; at < chunk.size();) {
        for (size_t i = 0; i < columns; i++) {
            int32 length;
            memcpy(&length, chunk.data() + at, sizeof(length));
            at += sizeof(length);
            nulls[i] = length < 0;
            if (length > 0)
                text.assign(chunk.data() + at, static_cast<size_t>(length));
            else
                text.clear();
            at += length > 0 ? static_cast<size_t>(length) : 0;
            char *form = nulls[i] ? nullptr : text.data();
            int32 modifier = TupleDescAttr(rows_.columns, static_cast<int>(i))->atttypmod;
            values[i] =
                pg::call([&]() noexcept { return InputFunctionCall(&input[i], form, type_parameters_[i], modifier); });
        }
        add_row(rows_, values.data(), nulls.get());
        per_row.reset();
    }
}

// Row by row with row_to_json: a statement over the rows would be parsed and planned each time.
std::optional<std::string> rows_to_json(const Rows &rows, int64 limit) {
    auto most = static_cast<size_t>(settings::max_output_bytes);
    TupleTableSlot *slot = pg::call([&]() noexcept {
        TupleTableSlot *made =
            MakeSingleTupleTableSlot(BlessTupleDesc(CreateTupleDescCopy(rows.columns)), &TTSOpsMinimalTuple);
        tuplestore_select_read_pointer(rows.store, 0);
        tuplestore_rescan(rows.store);
        return made;
    });
    std::string json = "[";
    pg::MemoryScope per_row("chronicle rows to json");
    for (int64 count = 0; limit < 0 || count < limit; count++) {
        const text *row = pg::call([&]() noexcept {
            if (!tuplestore_gettupleslot(rows.store, true, false, slot))
                return static_cast<const text *>(nullptr);
            CHECK_FOR_INTERRUPTS();
            return static_cast<const text *>(
                DatumGetTextPP(DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(slot))));
        });
        if (!row)
            break;
        json.append(json.size() > 1 ? ", " : "").append(VARDATA_ANY(row), VARSIZE_ANY_EXHDR(row));
        pg::call([&]() noexcept { ExecClearTuple(slot); }); // before its memory goes
        per_row.reset();
        if (json.size() >= most)
            return std::nullopt;
    }
    pg::call([&]() noexcept { ExecDropSingleTupleTableSlot(slot); });
    json += "]";
    if (json.find("\\u0000") != std::string::npos) // of a json column: what jsonb refuses is the node's failure
        (void)pg::make_jsonb(json);
    return json;
}

std::string whole_json(const Rows &rows) {
    std::optional<std::string> json = rows_to_json(rows, -1);
    if (!json)
        pg::raise(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                  {.message = "the node's output is larger than chronicle.max_output_bytes",
                   .detail = core::json{{"limit", settings::max_output_bytes}}.dump(),
                   .hint = "Aggregate or filter the rows before a condition or a reference reads them."});
    return *json;
}

void register_rows(const char *name, const Rows &rows) {
    pg::call([&]() noexcept {
        EphemeralNamedRelation relation =
            static_cast<EphemeralNamedRelation>(palloc0(sizeof(EphemeralNamedRelationData)));
        relation->md.name = pstrdup(name);
        relation->md.reliddesc = InvalidOid;
        relation->md.tupdesc = rows.columns;
        relation->md.enrtype = ENR_NAMED_TUPLESTORE;
        relation->md.enrtuples = static_cast<double>(rows.count);
        relation->reldata = rows.store;
        int code = SPI_register_relation(relation);
        if (code < 0)
            ereport(ERROR, (errcode(ERRCODE_DUPLICATE_ALIAS), errmsg("relation \"%s\" is registered twice", name)));
    });
}

} // namespace chronicle::flow
