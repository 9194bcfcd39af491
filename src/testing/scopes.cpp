// Subtransactions and the other scopes: what they leave when they end well, and when an error ends them.
#include <nlohmann/json.hpp> // before PostgreSQL redefines printf

#include "testing/counted.hpp"

#include "pg/latch.hpp"
#include "pg/lock.hpp"
#include "pg/relation.hpp"
#include "pg/spi.hpp"
#include "pg/xact.hpp"

#include <malloc.h>
#include <stdexcept>

extern "C" {
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "utils/fmgrprotos.h"
#include "utils/wait_event.h"
}

namespace chronicle::testing {

namespace {

using Json = nlohmann::ordered_json;

// Everything that must be as before when a scope is over.
struct Surroundings {
    MemoryContext memory = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    sigjmp_buf *jump = PG_exception_stack;
    ErrorContextCallback *callbacks = error_context_stack;
    int level = GetCurrentTransactionNestLevel();
    uint32 interrupts_held = InterruptHoldoffCount;
    Oid user = GetUserId();
    std::string work_mem = GetConfigOption("work_mem", false, false);
    bool snapshot = ActiveSnapshotSet();

    // The names of what differs.
    Json changed_since(const Surroundings &before) const {
        Json names = Json::array();
        auto compare = [&](const char *name, bool same) {
            if (!same)
                names.push_back(name);
        };
        compare("memory context", memory == before.memory);
        compare("resource owner", owner == before.owner);
        compare("exception stack", jump == before.jump);
        compare("error callbacks", callbacks == before.callbacks);
        compare("nest level", level == before.level);
        compare("interrupts held", interrupts_held == before.interrupts_held);
        compare("user", user == before.user);
        compare("setting", work_mem == before.work_mem);
        compare("snapshot", snapshot == before.snapshot);
        return names;
    }
};

int64 server_memory() {
    return static_cast<int64>(pg::call([]() noexcept { return MemoryContextMemAllocated(TopMemoryContext, true); }));
}

int64 heap_in_use() {
    struct mallinfo2 info = mallinfo2();
    return static_cast<int64>(info.uordblks + info.hblkhd);
}

void run_statement(const std::string &sql) {
    Counted counted;
    pg::MemoryScope memory("seam test");
    pg::Spi spi;
    (void)pg::run_sql(sql);
}

std::string as_json(const Json &value) { return value.dump(); }

} // namespace

// seam_heap() → bigint: the bytes that this process has of malloc, the server's memory contexts included
CHRONICLE_FUNCTION(seam_heap) {
    (void)fcinfo;
    return Int64GetDatum(heap_in_use());
}

// seam_attempt(sql text) → jsonb: the error's fields as C++ has them after the savepoint is undone; null: no error
CHRONICLE_FUNCTION(seam_attempt) {
    std::string sql = pg::Arguments(fcinfo).required_text(0, "sql");
    Surroundings before;
    std::optional<pg::Error> error = pg::attempt([&]() { run_statement(sql); });
    Json result{{"changed", Surroundings().changed_since(before)}};
    if (error)
        result.update(Json{{"sqlstate", error->sqlstate_text()},
                           {"message", error->message()},
                           {"detail", error->detail()},
                           {"hint", error->hint()},
                           {"context", error->context()},
                           {"transient", error->is_transient()}});
    return pg::make_jsonb(as_json(result));
}

// seam_attempt_throw(kind text) → text: what `attempt` makes of an exception that is none of PostgreSQL's
CHRONICLE_FUNCTION(seam_attempt_throw) {
    std::string kind = pg::Arguments(fcinfo).required_text(0, "kind");
    std::optional<pg::Error> error = pg::attempt([&]() {
        Counted counted;
        if (kind == "runtime_error")
            throw std::runtime_error("a runtime error in a savepoint");
        if (kind == "int")
            throw 42;
    });
    return pg::make_text(error ? error->sqlstate_text() + " " + error->message() : "no error");
}

// seam_subtransactions(count int, good text, bad text) → jsonb: half of them end by an error (of SQL, or of C++)
CHRONICLE_FUNCTION(seam_subtransactions) {
    pg::Arguments arguments(fcinfo);
    int32 count = *arguments.int4(0);
    std::string good = arguments.required_text(1, "good"), bad = arguments.required_text(2, "bad");
    Surroundings before;
    int64 failed = 0, memory = 0, heap = 0;
    auto round = [&](int i) {
        std::optional<pg::Error> error = pg::attempt([&]() {
            run_statement(i % 2 == 0 ? good : i % 4 == 1 ? bad : good);
            if (i % 4 == 3)
                throw std::runtime_error("a C++ exception in a savepoint");
        });
        failed += error.has_value();
    };
    for (int i = 0; i < count; i++) {
        if (i == count / 3) { // caches are warm by now
            memory = server_memory();
            heap = heap_in_use();
        }
        round(i);
    }
    Json result{{"failed", failed},
                {"changed", Surroundings().changed_since(before)},
                {"objects alive", Counted::alive},
                {"server memory grown", server_memory() - memory},
                {"heap grown", heap_in_use() - heap}};
    return pg::make_jsonb(as_json(result));
}

// seam_scopes(sql text) → jsonb: opens every kind of scope, runs the statement inside, and tells what was left changed
CHRONICLE_FUNCTION(seam_scopes) {
    std::string sql = pg::Arguments(fcinfo).required_text(0, "sql");
    Surroundings before;
    std::string inside;
    auto body = [&]() {
        pg::UserScope user(ROLE_PG_MONITOR, SECURITY_LOCAL_USERID_CHANGE);
        pg::GucScope settings;
        settings.set("work_mem", "12345kB");
        pg::SnapshotScope snapshot;
        pg::Table table(RelationRelationId, AccessShareLock);
        pg::MemoryScope memory("seam test");
        pg::MemorySwitch switched(TopTransactionContext);
        pg::lock(pg::LockKind::scheduler, 4711, ShareLock);
        pg::Spi spi;
        inside = pg::run_sql("SELECT current_user || ' ' || current_setting('work_mem')")[0].text(1);
        (void)pg::run_sql(sql);
    };
    std::optional<pg::Error> error = pg::attempt([&]() { below_frames(3, body); });
    Json result{{"inside", inside},
                {"error", error ? error->sqlstate_text() : "none"},
                {"changed", Surroundings().changed_since(before)},
                {"objects alive", Counted::alive}};
    return pg::make_jsonb(as_json(result));
}

// seam_scopes_fail() → void: the same without a savepoint of ours; the abort around it cleans up
CHRONICLE_FUNCTION(seam_scopes_fail) {
    auto body = []() {
        pg::UserScope user(ROLE_PG_MONITOR, SECURITY_LOCAL_USERID_CHANGE);
        pg::GucScope settings;
        settings.set("work_mem", "12345kB");
        pg::Table table(RelationRelationId, AccessShareLock);
        pg::MemoryScope memory("seam test");
        pg::Subtransaction open;
        pg::Spi spi;
        throw std::runtime_error("left by an exception");
    };
    below_frames(3, body);
    PG_RETURN_VOID();
}

// seam_sleep(seconds double precision) → void: waits inside PostgreSQL
CHRONICLE_FUNCTION(seam_sleep) {
    Datum seconds = pg::Arguments(fcinfo).datum(0);
    auto body = [&]() { pg::call([&]() noexcept { (void)DirectFunctionCall1(pg_sleep, seconds); }); };
    below_frames(3, body);
    PG_RETURN_VOID();
}

// seam_spin(cancel boolean) → void: a C++ loop that only an interrupt ends; `cancel` asks for it itself
CHRONICLE_FUNCTION(seam_spin) {
    if (DatumGetBool(pg::Arguments(fcinfo).datum(0)))
        kill(MyProcPid, SIGINT);
    auto body = []() {
        for (;;)
            pg::check_interrupts();
    };
    below_frames(3, body);
    PG_RETURN_VOID();
}

// seam_wait(milliseconds int) → boolean: sleeps on the latch; true: it was set
CHRONICLE_FUNCTION(seam_wait) {
    int32 timeout = *pg::Arguments(fcinfo).int4(0);
    bool set = false;
    auto body = [&]() {
        while (timeout < 0) // for ever: another process may set the latch in between
            (void)pg::wait_latch(-1, PG_WAIT_EXTENSION);
        set = pg::wait_latch(timeout, PG_WAIT_EXTENSION);
    };
    below_frames(3, body);
    PG_RETURN_BOOL(set);
}

} // namespace chronicle::testing
