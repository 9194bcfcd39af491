// Errors on their way through C++ frames: the whole ErrorData travels (SQLSTATE, DETAIL, HINT, CONTEXT …).
#pragma once

#include "pg/postgres.hpp"

namespace chronicle::pg {

/// What an error of ours says beside its message. `detail` is one JSON object where the contract asks for it.
struct ErrorText {
    std::string message;
    std::string detail = {};
    std::string hint = {};
};

/// An error as a C++ exception: either one that PostgreSQL raised under a guard, or one of ours.
/// It owns malloc'ed copies only, so no memory context and no transaction has to live as long as it does.
class Error : public std::exception {
public:
    /// An error of ours. `sqlstate` is an ERRCODE_… or MAKE_SQLSTATE value.
    Error(int sqlstate, ErrorText text);
    /// A copy of what PostgreSQL reported (CopyErrorData's result; it may be freed afterwards).
    explicit Error(const ErrorData &raised);

    const char *what() const noexcept override;
    int sqlstate() const noexcept { return record_->sqlstate; }
    std::string sqlstate_text() const;
    const std::string &message() const noexcept { return record_->message; }
    const std::string &detail() const noexcept { return record_->detail; }
    const std::string &hint() const noexcept { return record_->hint; }
    const std::string &context() const noexcept { return record_->context; }
    const std::string &constraint() const noexcept { return record_->constraint_name; }
    /// True for the server's error with this message, whatever language it was reported in.
    bool is_about(const char *message_id) const noexcept;
    /// True for conditions that a repetition may cure: serialization failure, deadlock, lock not available.
    bool is_transient() const noexcept;
    /// True for what is no fault of the code that raised it, and nobody may catch: cancel, shutdown, what a repetition
    /// of the transaction cures, what is wrong with the server (classes 40, 53, 57, 58; 55P03).
    bool must_pass() const noexcept;

    /// Reports the error to PostgreSQL. Only for a frame that owns no object with a destructor: it leaves by longjmp.
    [[noreturn]] static void report(Error &&error);

private:
    struct Record {
        int elevel = ERROR;
        int sqlstate = ERRCODE_INTERNAL_ERROR;
        bool raised_by_server = false;
        bool output_to_server = false, output_to_client = false; // decided where it was raised
        bool hide_stmt = false, hide_ctx = false;
        int lineno = 0, cursorpos = 0, internalpos = 0, saved_errno = 0;
        // Set by the server to string literals: they outlive the error.
        const char *filename = nullptr, *funcname = nullptr, *domain = nullptr, *context_domain = nullptr,
                   *message_id = nullptr;
        std::string message, detail, detail_log, hint, context;
        std::string schema_name, table_name, column_name, datatype_name, constraint_name, internalquery;
    };
    std::shared_ptr<Record> record_;
};

/// Throws an error of ours.
[[noreturn]] void raise(int sqlstate, ErrorText text);

/// The five-character form of an SQLSTATE.
std::string sqlstate_to_text(int sqlstate);

} // namespace chronicle::pg
