#include "core/excerpt.hpp"

#include "pg/error.hpp"

namespace chronicle::pg {

namespace {

std::string copy(const char *text) { return text ? std::string(text) : std::string(); }

// Errors quote what they were given. More of it than this tells nobody anything, and more than 1 GB cannot be reported.
constexpr size_t max_text = 8000;

std::string excerpt_of_detail(std::string_view detail) {
    const bool is_json = detail.starts_with('{') || detail.starts_with('[');
    return is_json ? core::excerpt_of_json(detail, max_text) : core::excerpt(detail, max_text);
}

// In the current memory context; ReThrowError and ThrowErrorData copy once more, into ErrorContext.
char *palloc_or_null(const std::string &text) { return text.empty() ? nullptr : pstrdup(text.c_str()); }

} // namespace

std::string sqlstate_to_text(int sqlstate) {
    std::string text(5, '0');
    for (char &c : text) {
        c = static_cast<char>(PGUNSIXBIT(sqlstate));
        sqlstate >>= 6;
    }
    return text;
}

Error::Error(int sqlstate, ErrorText text) : record_(std::make_shared<Record>()) {
    record_->sqlstate = sqlstate;
    record_->message = text.message.size() > max_text ? core::excerpt(text.message, max_text) : std::move(text.message);
    record_->detail = text.detail.size() > max_text ? excerpt_of_detail(text.detail) : std::move(text.detail);
    record_->hint = text.hint.size() > max_text ? core::excerpt(text.hint, max_text) : std::move(text.hint);
}

Error::Error(const ErrorData &raised) : record_(std::make_shared<Record>()) {
    Record &r = *record_;
    r.raised_by_server = true;
    r.elevel = raised.elevel;
    r.sqlstate = raised.sqlerrcode;
    r.output_to_server = raised.output_to_server;
    r.output_to_client = raised.output_to_client;
    r.hide_stmt = raised.hide_stmt;
    r.hide_ctx = raised.hide_ctx;
    r.lineno = raised.lineno;
    r.cursorpos = raised.cursorpos;
    r.internalpos = raised.internalpos;
    r.saved_errno = raised.saved_errno;
    r.filename = raised.filename;
    r.funcname = raised.funcname;
    r.domain = raised.domain;
    r.context_domain = raised.context_domain;
    r.message_id = raised.message_id;
    r.message = copy(raised.message);
    r.detail = copy(raised.detail);
    r.detail_log = copy(raised.detail_log);
    r.hint = copy(raised.hint);
    r.context = copy(raised.context);
    r.schema_name = copy(raised.schema_name);
    r.table_name = copy(raised.table_name);
    r.column_name = copy(raised.column_name);
    r.datatype_name = copy(raised.datatype_name);
    r.constraint_name = copy(raised.constraint_name);
    r.internalquery = copy(raised.internalquery);
}

const char *Error::what() const noexcept { return record_->message.c_str(); }

std::string Error::sqlstate_text() const { return sqlstate_to_text(record_->sqlstate); }

bool Error::is_transient() const noexcept {
    int state = record_->sqlstate;
    return state == ERRCODE_T_R_SERIALIZATION_FAILURE || state == ERRCODE_T_R_DEADLOCK_DETECTED ||
           state == ERRCODE_LOCK_NOT_AVAILABLE;
}

bool Error::must_pass() const noexcept {
    int category = ERRCODE_TO_CATEGORY(record_->sqlstate);
    return record_->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || category == MAKE_SQLSTATE('4', '0', '0', '0', '0') ||
           category == MAKE_SQLSTATE('5', '3', '0', '0', '0') || category == MAKE_SQLSTATE('5', '7', '0', '0', '0') ||
           category == MAKE_SQLSTATE('5', '8', '0', '0', '0');
}

bool Error::is_about(const char *message_id) const noexcept {
    return record_->message_id && strcmp(record_->message_id, message_id) == 0;
}

// The copies for the server are made while the record still lives; the record is released before the jump.
void Error::report(Error &&error) {
    ErrorData data{};
    bool raised_by_server = false;
    {
        std::shared_ptr<Record> record = std::move(error.record_);
        const Record &r = *record;
        data.elevel = r.elevel;
        data.sqlerrcode = r.sqlstate;
        data.hide_stmt = r.hide_stmt;
        data.hide_ctx = r.hide_ctx;
        data.lineno = r.lineno;
        data.cursorpos = r.cursorpos;
        data.internalpos = r.internalpos;
        data.saved_errno = r.saved_errno;
        data.filename = r.filename;
        data.funcname = r.funcname;
        data.domain = r.domain;
        data.context_domain = r.context_domain;
        data.message_id = r.message_id;
        data.message = pstrdup(r.message.c_str());
        data.detail = palloc_or_null(r.detail);
        data.detail_log = palloc_or_null(r.detail_log);
        data.hint = palloc_or_null(r.hint);
        data.context = palloc_or_null(r.context);
        data.schema_name = palloc_or_null(r.schema_name);
        data.table_name = palloc_or_null(r.table_name);
        data.column_name = palloc_or_null(r.column_name);
        data.datatype_name = palloc_or_null(r.datatype_name);
        data.constraint_name = palloc_or_null(r.constraint_name);
        data.internalquery = palloc_or_null(r.internalquery);
        data.assoc_context = CurrentMemoryContext;
        data.output_to_server = r.output_to_server;
        data.output_to_client = r.output_to_client;
        raised_by_server = r.raised_by_server;
    }
    if (raised_by_server) // already complete: the callbacks of all outer frames have added their CONTEXT
        ReThrowError(&data);
    ThrowErrorData(&data); // ours: the callbacks of the frames around us add theirs now
    pg_unreachable();
}

void raise(int sqlstate, ErrorText text) { throw Error(sqlstate, std::move(text)); }

} // namespace chronicle::pg
