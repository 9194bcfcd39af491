// Exceptions and errors of every kind, thrown below a few C++ frames.
#include "testing/counted.hpp"

#include "pg/spi.hpp"

#include <new>
#include <stdexcept>

extern "C" {
PG_MODULE_MAGIC;
}

namespace chronicle::testing {

namespace {

constexpr int frames = 5;
struct NoException {};
struct OwnException : std::exception {
    const char *what() const noexcept override { return "an exception type of the test"; }
};

void throw_kind(const std::string &kind) {
    if (kind == "runtime_error")
        throw std::runtime_error("a runtime error");
    if (kind == "bad_alloc")
        throw std::bad_alloc();
    if (kind == "length_error")
        throw std::length_error("too long");
    if (kind == "out_of_range")
        throw std::out_of_range("out of range");
    if (kind == "invalid_argument")
        throw std::invalid_argument("not valid");
    if (kind == "own exception")
        throw OwnException();
    if (kind == "int")
        throw 42;
    if (kind == "own type")
        throw NoException();
    if (kind == "chronicle")
        pg::raise(MAKE_SQLSTATE('C', 'H', '0', '0', '1'),
                  {.message = "an error of ours", .detail = "{\"stream\": \"cart-1\"}", .hint = "Do it again."});
    if (kind == "server")
        pg::call([]() noexcept {
            ereport(ERROR, (errcode(ERRCODE_LOCK_FILE_EXISTS), errmsg("an error of the server"),
                            errdetail("its detail"), errhint("its hint")));
        });
}

} // namespace

// seam_throw(kind text) → void
CHRONICLE_FUNCTION(seam_throw) {
    std::string kind = pg::Arguments(fcinfo).required_text(0, "kind");
    auto body = [&]() { throw_kind(kind); };
    below_frames(frames, body);
    PG_RETURN_VOID();
}

// seam_throw_in_callback(kind text) → void: the other door into C++, as hooks and callbacks use it
CHRONICLE_FUNCTION(seam_throw_in_callback) {
    std::string kind = pg::Arguments(fcinfo).required_text(0, "kind");
    auto as_the_server_calls = [&]() noexcept {
        pg::entry([&]() {
            auto body = [&]() { throw_kind(kind); };
            below_frames(frames, body);
        });
    };
    pg::call(as_the_server_calls);
    PG_RETURN_VOID();
}

// seam_throw_without_memory(kind text, allocations bigint) → void: nothing can be allocated while the error is
// described
CHRONICLE_FUNCTION(seam_throw_without_memory) {
    std::string kind = pg::Arguments(fcinfo).required_text(0, "kind");
    auto body = [&]() {
        fail_allocations_after(*pg::Arguments(fcinfo).int8(1));
        throw_kind(kind);
    };
    below_frames(frames, body);
    PG_RETURN_VOID();
}

// seam_memory_is_back() → void
CHRONICLE_FUNCTION(seam_memory_is_back) {
    fail_allocations_after(-1);
    PG_RETURN_VOID();
}

// seam_run(sql text) → bigint: the statement's row count; C++ → SPI → SQL, which may come back to C++
CHRONICLE_FUNCTION(seam_run) {
    std::string sql = pg::Arguments(fcinfo).required_text(0, "sql");
    uint64 rows = 0;
    auto body = [&]() {
        pg::Spi spi;
        rows = pg::run_sql(sql).count;
    };
    below_frames(frames, body);
    PG_RETURN_INT64(static_cast<int64>(rows));
}

// seam_error_in_catch(second text) → void: one error is caught, another one leaves the catch block
CHRONICLE_FUNCTION(seam_error_in_catch) {
    std::string second = pg::Arguments(fcinfo).required_text(0, "second");
    auto body = [&]() {
        try {
            throw_kind("server");
        } catch (const pg::Error &) {
            Counted counted;
            if (second == "rethrow")
                throw;
            throw_kind(second);
        }
    };
    below_frames(frames, body);
    PG_RETURN_VOID();
}

// seam_alive() → bigint: C++ objects that should have been destroyed
CHRONICLE_FUNCTION(seam_alive) { PG_RETURN_INT64(Counted::alive); }

// seam_sqlstate_text(sqlstate text) → text: there and back
CHRONICLE_FUNCTION(seam_sqlstate_text) {
    std::string text = pg::Arguments(fcinfo).required_text(0, "sqlstate");
    if (text.size() != 5)
        throw std::invalid_argument("an SQLSTATE has five characters");
    return pg::make_text(pg::sqlstate_to_text(MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4])));
}

// seam_fatal() → void: the session ends below a guard and C++ frames
CHRONICLE_FUNCTION(seam_fatal) {
    auto body = []() {
        pg::call([]() noexcept {
            ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("the end of this session, for a test")));
        });
    };
    below_frames(frames, body);
    PG_RETURN_VOID();
}

} // namespace chronicle::testing
