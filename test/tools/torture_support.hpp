// The torture program: connections, options, violations, and the names of things.
#pragma once

#include <libpq-fe.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace torture {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct Options {
    std::string conninfo = "dbname=postgres", other_conninfo, crash_log, verify;
    int seconds = 15, writers = 8, readers = 12, streams = 40;
    int deadline = 30; // seconds until something that does not come about is a violation
    uint64_t seed = std::random_device{}();
    bool allow_loss = false; // the server ran with synchronous_commit = off
};

// --- connections ---

class DatabaseError : public std::runtime_error {
public:
    DatabaseError(std::string sqlstate, const std::string &message, const std::string &sql)
        : std::runtime_error(sqlstate + ": " + message + " in: " + sql.substr(0, 300)), sqlstate_(std::move(sqlstate)) {
    }
    bool is(const char *sqlstate) const { return sqlstate_ == sqlstate; }

private:
    std::string sqlstate_;
};

class ConnectionLost : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

using Text = std::optional<std::string>;

class Rows {
public:
    explicit Rows(PGresult *result) : result_(result, PQclear) {}
    int count() const { return PQntuples(result_.get()); }
    bool null(int row, int column) const { return PQgetisnull(result_.get(), row, column); }
    const char *text(int row, int column) const { return PQgetvalue(result_.get(), row, column); }
    int64_t number(int row, int column) const { return std::stoll(text(row, column)); }

private:
    std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

class Connection {
public:
    explicit Connection(const std::string &conninfo) : conn_(PQconnectdb(conninfo.c_str()), PQfinish) {
        if (PQstatus(conn_.get()) != CONNECTION_OK)
            throw ConnectionLost(PQerrorMessage(conn_.get()));
        PQsetNoticeProcessor(
            conn_.get(), [](void *, const char *) {}, nullptr);
        // What hangs is a violation, not a program that never ends.
        run("SET statement_timeout = '120s'");
        run("SET search_path = public, chronicle");
    }

    Rows run(const std::string &sql, const std::vector<Text> &parameters = {}) {
        send(sql, parameters);
        return receive();
    }

    void send(const std::string &sql, const std::vector<Text> &parameters = {}) {
        std::vector<const char *> values;
        for (const Text &p : parameters)
            values.push_back(p ? p->c_str() : nullptr);
        sql_ = sql;
        if (!PQsendQueryParams(conn_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(),
                               nullptr, nullptr, 0))
            throw ConnectionLost(PQerrorMessage(conn_.get()));
    }

    Rows receive() {
        std::optional<Rows> rows;
        std::optional<DatabaseError> error;
        while (PGresult *result = PQgetResult(conn_.get())) {
            ExecStatusType status = PQresultStatus(result);
            if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
                rows.emplace(result);
                continue;
            }
            const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
            const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
            error.emplace(sqlstate ? sqlstate : "", message ? message : PQresultErrorMessage(result), sql_);
            PQclear(result);
        }
        if (PQstatus(conn_.get()) != CONNECTION_OK)
            throw ConnectionLost(PQerrorMessage(conn_.get()));
        // The server says goodbye, or libpq noticed that it is gone.
        if (error && (error->is("57P01") || error->is("57P02") || error->is("57P03") || error->is("")))
            throw ConnectionLost(error->what());
        if (error)
            throw *error;
        if (!rows)
            throw ConnectionLost("no answer to: " + sql_.substr(0, 300));
        return std::move(*rows);
    }

private:
    std::unique_ptr<PGconn, decltype(&PQfinish)> conn_;
    std::string sql_;
};

// --- violations ---

class Violations {
public:
    void add(const std::string &what) {
        std::lock_guard guard(mutex_);
        if (first_.size() < 20)
            first_.push_back(what);
        count_++;
    }
    int count() const { return count_; }
    std::vector<std::string> first() {
        std::lock_guard guard(mutex_);
        return first_;
    }

private:
    std::mutex mutex_;
    std::vector<std::string> first_;
    std::atomic<int> count_{0};
};

// --- streams, types and data: an event is its key, and everything else about it follows from the key ---

constexpr int probe_stream = 0;
constexpr int categories = 4;

inline std::string category_of(int stream) {
    return std::string("torture_") + (stream == probe_stream ? 'p' : static_cast<char>('a' + stream % categories));
}
inline std::string name_of(int stream) { return category_of(stream) + "-" + std::to_string(stream); }
inline int stream_of(const std::string &name) { return std::stoi(name.substr(name.find('-') + 1)); }

inline std::string type_of(uint64_t key) { return key % 97 == 0 ? "Rare" : "Type" + std::to_string(key % 4); }

inline std::string data_of(uint64_t key) {
    size_t padding = key % 509 == 0 ? 5000 : key % 200;
    return "{\"k\": " + std::to_string(key) + ", \"padding\": \"" + std::string(padding, 'x') + "\"}";
}

inline uint64_t mix(uint64_t x) { // splitmix64
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

inline std::string id_of(uint64_t key) {
    char text[37];
    unsigned long long high = mix(key), low = mix(~key);
    snprintf(text, sizeof text, "%08llx-%04llx-4%03llx-8%03llx-%012llx", high >> 32, (high >> 16) & 0xffff,
             high & 0xfff, low >> 52, low & 0xffffffffffffU);
    return text;
}

// run number in the database, writer in the run, event of the writer
inline uint64_t make_key(uint64_t run, int writer, uint64_t n) {
    return run << 40 | static_cast<uint64_t>(writer) << 32 | n;
}
inline std::string describe_key(uint64_t key) {
    return "event " + std::to_string(key) + " (run " + std::to_string(key >> 40) + ", writer " +
           std::to_string(key >> 32 & 0xff) + ", number " + std::to_string(key & 0xffffffff) + ")";
}

// --- what is known about events ---

// An append that the server acknowledged, or (version 0) one whose outcome nobody heard.
struct Appended {
    uint64_t key = 0;
    int stream = 0;
    int64_t version = 0;
    uint64_t transaction = 0;
    bool repeatable = false; // a call with this event alone, with an id
};

// An event as a reader saw it, or as it is stored.
struct Seen {
    int64_t position = 0;
    uint64_t key = 0;
    int stream = 0;
    int64_t version = 0;
    bool operator==(const Seen &) const = default;
};
inline std::string describe(const Seen &e) {
    return describe_key(e.key) + " at position " + std::to_string(e.position) + ", version " +
           std::to_string(e.version) + " of " + name_of(e.stream);
}

// The columns that make a Seen.
inline const std::string seen_columns = "global_position, stream, version, type, data->>'k'";

// Nothing for an event that is not ours.
inline std::optional<Seen> read_seen(const Rows &rows, int row, Violations &violations, const std::string &who) {
    if (rows.null(row, 4))
        return std::nullopt;
    Seen seen{rows.number(row, 0), static_cast<uint64_t>(rows.number(row, 4)), stream_of(rows.text(row, 1)),
              rows.number(row, 2)};
    if (rows.text(row, 1) != name_of(seen.stream) || rows.text(row, 3) != type_of(seen.key))
        violations.add(who + ": " + describe(seen) + " has stream " + rows.text(row, 1) + " and type " +
                       rows.text(row, 3));
    return seen;
}

// --- what the threads share ---

struct World {
    Options options;
    Violations violations;
    uint64_t run = 1;
    std::atomic<bool> stop{false}; // writers end
    std::atomic<bool> drain{false}; // readers end when they have read everything
    std::atomic<bool> lost{false}; // the server went away, as the crash test wants it
    std::atomic<int64_t> stored{0}; // events acknowledged in this database
    std::vector<std::atomic<int64_t>> versions; // of each stream, the highest that was acknowledged
    std::function<int64_t()> slowest_reader; // events that the slowest reader of everything has

    explicit World(const Options &o) : options(o), versions(static_cast<size_t>(o.streams) + 1) {}
    bool ended() const { return violations.count() > 0 || lost; }

    void saw_version(int stream, int64_t version) {
        std::atomic<int64_t> &highest = versions[static_cast<size_t>(stream)];
        int64_t before = highest;
        while (before < version && !highest.compare_exchange_weak(before, version))
            ;
    }

    // Readers are to be tested at the end of the log, not far behind it; one that is stuck is the probe's to find.
    void wait_for_readers() const {
        while (!stop && !ended() && stored - slowest_reader() > 5000)
            std::this_thread::sleep_for(1ms);
    }
};

// Runs the body; what it throws is a violation, or the crash that the crash test wants.
inline void guarded(World &world, const std::string &who, const std::function<void()> &body) {
    try {
        body();
    } catch (const ConnectionLost &error) {
        if (world.options.crash_log.empty())
            world.violations.add(who + ": the connection was lost: " + error.what());
        world.lost = true;
    } catch (const std::exception &error) {
        world.violations.add(who + ": " + error.what());
    }
}

inline std::thread start_thread(World &world, const std::string &who, std::function<void()> body) {
    return std::thread([&world, who, body = std::move(body)] { guarded(world, who, body); });
}

} // namespace torture
