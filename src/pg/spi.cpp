#include "pg/spi.hpp"

extern "C" {
#include "jit/jit.h"
#include "optimizer/cost.h"
}

namespace chronicle::pg {

namespace {

[[noreturn]] void spi_failed(const char *what, int code) {
    raise(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
          {.message = std::string("chronicle: ") + what + " failed: " + SPI_result_code_string(code)});
}

bool newest = false; // see NewestScope

// The engine's statements are about a few rows of tables that may hold many. Plans are kept, and often made while a
// table (a queue!) is empty: a sequential scan is cheap then, and reads all that is queued later, for each row. So
// none is planned where an index serves; and where none does, that a plan is dear says nothing to JIT. The planner's
// settings are put back before anybody else's statement is planned.
class PlansByIndex {
public:
    PlansByIndex() : seqscan_(std::exchange(enable_seqscan, false)), jit_(std::exchange(jit_enabled, false)) {}
    ~PlansByIndex() {
        enable_seqscan = seqscan_;
        jit_enabled = jit_;
    }
    PlansByIndex(const PlansByIndex &) = delete;
    PlansByIndex &operator=(const PlansByIndex &) = delete;

private:
    bool seqscan_, jit_;
};

} // namespace

NewestScope::NewestScope() : outer_(std::exchange(newest, true)) {}
NewestScope::~NewestScope() { newest = outer_; }

Spi::Spi() : exceptions_(std::uncaught_exceptions()) {
    int code = call([]() noexcept { return SPI_connect(); });
    if (code != SPI_OK_CONNECT)
        spi_failed("SPI_connect", code);
}

Spi::~Spi() {
    if (!unwinding(exceptions_))
        SPI_finish();
}

Values &Values::add(Datum value, bool is_null) {
    if (count_ == capacity)
        raise(ERRCODE_TOO_MANY_ARGUMENTS, {.message = "too many parameters for one statement"});
    datums_[count_] = value;
    nulls_[count_] = is_null ? 'n' : ' ';
    null_flags_[count_] = is_null;
    count_++;
    return *this;
}

Datum Row::datum(int column, bool *is_null) const {
    return call([&]() noexcept { return SPI_getbinval(tuple_, table_->tupdesc, column, is_null); });
}

bool Row::null(int column) const {
    bool is_null;
    datum(column, &is_null);
    return is_null;
}

// NULL here is a mistake in our own SQL: say which column instead of reading garbage.
static Datum not_null(const Row &row, int column) {
    bool is_null;
    Datum value = row.datum(column, &is_null);
    if (is_null)
        raise(ERRCODE_NULL_VALUE_NOT_ALLOWED, {.message = "chronicle: column " + std::to_string(column) +
                                                          " of an internal query is unexpectedly NULL"});
    return value;
}

std::string Row::text(int column) const { return to_string(not_null(*this, column)); }
std::optional<std::string> Row::maybe_text(int column) const {
    return null(column) ? std::nullopt : std::optional(text(column));
}
int64 Row::int8(int column) const { return DatumGetInt64(not_null(*this, column)); }
int32 Row::int4(int column) const { return DatumGetInt32(not_null(*this, column)); }
bool Row::boolean(int column) const { return DatumGetBool(not_null(*this, column)); }
Uuid Row::uuid(int column) const { return to_uuid(not_null(*this, column)); }
TimestampTz Row::time(int column) const { return DatumGetTimestampTz(not_null(*this, column)); }
std::string Row::jsonb(int column) const { return jsonb_to_string(not_null(*this, column)); }

Rows Statement::run(Values &values, bool read_only) {
    if (!plan_) {
        SPIPlanPtr plan = call([&]() noexcept { return SPI_prepare(sql_, count_, const_cast<Oid *>(types_)); });
        if (!plan)
            spi_failed("SPI_prepare", SPI_result);
        SPI_keepplan(plan);
        plan_ = plan;
    }
    PlansByIndex planning;
    bool latest = newest && !read_only && IsolationUsesXactSnapshot();
    int code = call([&]() noexcept {
        if (latest)
            return SPI_execute_snapshot(plan_, values.datums(), values.nulls(), GetLatestSnapshot(), InvalidSnapshot,
                                        false, true, 0);
        return SPI_execute_plan(plan_, values.datums(), values.nulls(), read_only, 0);
    });
    if (code < 0)
        spi_failed("SPI_execute_plan", code);
    return Rows{SPI_tuptable, SPI_processed};
}

Rows run_sql(const std::string &sql, long max_rows) {
    const char *text = sql.c_str();
    int code = call([&]() noexcept { return SPI_execute(text, false, max_rows); });
    if (code < 0)
        spi_failed("SPI_execute", code);
    return Rows{SPI_tuptable, SPI_processed};
}

} // namespace chronicle::pg
