// The torture program: a writer. It keeps every append that was acknowledged, with the answer, and those whose outcome
// it never heard because the server went away.
#pragma once

#include "torture_calls.hpp"

#include <algorithm>

namespace torture {

struct WriterCounts {
    int64_t calls = 0, transactions = 0, savepoints = 0, rollbacks = 0, conflicts = 0, retries = 0, twins = 0,
            deadlocks = 0, serialization = 0;
    void add(const WriterCounts &o) {
        calls += o.calls, transactions += o.transactions, savepoints += o.savepoints, rollbacks += o.rollbacks;
        conflicts += o.conflicts, retries += o.retries, twins += o.twins, deadlocks += o.deadlocks;
        serialization += o.serialization;
    }
};

class Writer {
public:
    Writer(World &world, int number)
        : world_(world), number_(number), random_(mix(world.options.seed) + static_cast<uint64_t>(number)),
          connection_(world.options.conninfo), second_(world.options.conninfo) {}

    void run() {
        while (!world_.stop && !world_.ended()) {
            world_.wait_for_readers();
            int what = below(100);
            if (what < 40)
                single_call();
            else if (what < 65)
                transaction();
            else if (what < 75)
                opposite_order();
            else if (what < 85)
                retry();
            else if (what < 92)
                twins();
            else
                conflict();
        }
    }

    // For the probe: one event, committed.
    void append_to(int stream) { commit_call(make_call(Call::Form::event, {stream}, 1, false)); }
    Connection &connection() { return connection_; }

    std::vector<Appended> acknowledged, doubtful;
    WriterCounts counts;

private:
    int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }
    bool chance(int percent) { return below(100) < percent; }
    // The low numbers are the busy streams.
    int any_stream() { return 1 + std::min(below(world_.options.streams), below(world_.options.streams)); }
    int64_t known_version(int stream) const { return world_.versions[static_cast<size_t>(stream)]; }

    // --- making calls ---

    Call make_call(Call::Form form, const std::vector<int> &streams, int largest, bool with_ids) {
        Call call{form, {}, with_ids};
        for (int stream : streams) {
            Batch batch{stream, {}, std::nullopt};
            for (int n = form == Call::Form::event ? 1 : 1 + below(largest); n > 0; n--)
                batch.keys.push_back(make_key(world_.run, number_, next_++));
            call.batches.push_back(batch);
        }
        return call;
    }

    Call any_call() {
        bool with_ids = chance(40);
        switch (below(4)) {
        case 0:
            return make_call(Call::Form::event, {any_stream()}, 1, with_ids);
        case 1:
            return make_call(Call::Form::events, {any_stream()}, 12, with_ids);
        case 2:
            return make_call(Call::Form::arrays, {any_stream()}, chance(5) ? 300 : 30, with_ids);
        default:
            std::vector<int> streams;
            for (int n = 1 + below(4); n > 0; n--)
                if (int s = any_stream(); std::find(streams.begin(), streams.end(), s) == streams.end())
                    streams.push_back(s);
            return make_call(Call::Form::streams, streams, 6, with_ids);
        }
    }

    // --- sending them ---

    std::vector<Appended> events_of(const Call &call, const std::vector<Range> &answer) {
        std::vector<Appended> events;
        for (size_t b = 0; b < call.batches.size(); b++)
            for (size_t i = 0; i < call.batches[b].keys.size(); i++)
                events.push_back({call.batches[b].keys[i], call.batches[b].stream,
                                  answer.empty() ? 0 : answer[b].first + static_cast<int64_t>(i), transaction_,
                                  call.repeatable()});
        return events;
    }

    std::vector<Range> run_call(const Call &call) {
        counts.calls++;
        send_call(connection_, call);
        std::vector<Range> answer = receive_answer(connection_, call);
        for (size_t b = 0; b < call.batches.size(); b++)
            if (const auto &expected = call.batches[b].expected; expected && *expected >= 0)
                check(answer[b].first == *expected + 1,
                      "expected version " + std::to_string(*expected) + " of " + name_of(call.batches[b].stream) +
                          " was accepted, and the answer is version " + std::to_string(answer[b].first));
        return answer;
    }

    void check(bool holds, const std::string &otherwise) {
        if (!holds)
            world_.violations.add("writer " + std::to_string(number_) + ": " + otherwise);
    }

    // A call that is its own transaction.
    std::vector<Range> commit_call(const Call &call) {
        transaction_ = make_key(world_.run, number_, ++transactions_);
        try {
            std::vector<Range> answer = run_call(call);
            acknowledge(events_of(call, answer));
            return answer;
        } catch (const ConnectionLost &) {
            std::vector<Appended> events = events_of(call, {});
            doubtful.insert(doubtful.end(), events.begin(), events.end());
            throw;
        }
    }

    void acknowledge(const std::vector<Appended> &events) {
        for (const Appended &event : events)
            world_.saw_version(event.stream, event.version);
        world_.stored += static_cast<int64_t>(events.size());
        acknowledged.insert(acknowledged.end(), events.begin(), events.end());
    }

    // --- single calls ---

    void single_call() {
        Call call = any_call();
        bool guessed = chance(30);
        if (guessed)
            for (Batch &batch : call.batches) {
                int64_t version = known_version(batch.stream);
                batch.expected = version > 0 && chance(20) ? -1 : version;
            }
        try {
            std::vector<Range> answer = commit_call(call);
            if (call.with_ids)
                remember(call, answer);
        } catch (const DatabaseError &error) {
            if (guessed && error.is("CH001"))
                counts.conflicts++;
            else if (!is_expected(error, "READ COMMITTED"))
                throw;
        }
    }

    // An expectation that cannot be true is refused, alone and inside a transaction that goes on.
    void conflict() {
        Call call = any_call();
        for (Batch &batch : call.batches)
            batch.expected = known_version(batch.stream) > 0 && chance(50) ? 0 : known_version(batch.stream) + 1000000;
        try {
            (void)commit_call(call);
            check(false, "a wrong expected version was accepted: " + name_of(call.batches[0].stream));
        } catch (const DatabaseError &error) {
            if (!error.is("CH001") && !is_expected(error, "READ COMMITTED"))
                throw;
            counts.conflicts++;
        }
    }

    // --- retries by id ---

    struct Remembered {
        Call call;
        std::vector<Range> answer;
    };

    void remember(const Call &call, const std::vector<Range> &answer) {
        if (remembered_.size() < 300)
            remembered_.push_back({call, answer});
        else
            remembered_[static_cast<size_t>(below(300))] = {call, answer};
    }

    void check_retry(const Remembered &first, const std::vector<Range> &answer) {
        for (size_t b = 0; b < answer.size(); b++)
            check(answer[b] == first.answer[b], "a retry of " + describe_key(first.call.batches[b].keys[0]) +
                                                    " answered versions " + describe(answer[b]) +
                                                    ", the first time it was " + describe(first.answer[b]));
    }

    void retry() {
        if (remembered_.empty())
            return;
        Remembered first = remembered_[static_cast<size_t>(below(static_cast<int>(remembered_.size())))];
        bool differs = chance(25);
        Batch &last = first.call.batches.back();
        if (differs && first.call.form != Call::Form::event)
            last.keys.push_back(make_key(world_.run, number_, next_++)); // partly stored
        else if (differs)
            last.stream = last.stream % world_.options.streams + 1; // in another stream
        for (Batch &batch : first.call.batches)
            if (chance(30))
                batch.expected = 1000000000; // is not looked at
        try {
            counts.retries++;
            send_call(connection_, first.call);
            std::vector<Range> answer = receive_answer(connection_, first.call);
            check(!differs, "a retry that differs from what is stored was accepted: " + describe_key(last.keys[0]));
            if (!differs)
                check_retry(first, answer);
        } catch (const DatabaseError &error) {
            if (!(differs && error.is("CH003")) && !is_expected(error, "READ COMMITTED"))
                throw;
        }
    }

    // A call with ids that lost a deadlock is sent again, until it is answered.
    std::vector<Range> receive_repeated(Connection &connection, const Call &call) {
        while (true) {
            try {
                return receive_answer(connection, call);
            } catch (const DatabaseError &error) {
                if (!is_expected(error, "READ COMMITTED"))
                    throw;
                send_call(connection, call);
            }
        }
    }

    // The same call from two connections at once: one of them stores it, both answer the same.
    void twins() {
        Call call = make_call(chance(50) ? Call::Form::arrays : Call::Form::event, {any_stream()}, 20, true);
        counts.twins++;
        transaction_ = make_key(world_.run, number_, ++transactions_);
        try {
            send_call(connection_, call);
            send_call(second_, call);
            std::vector<Range> answer = receive_repeated(connection_, call);
            acknowledge(events_of(call, answer));
            remember(call, answer);
            check_retry({call, answer}, receive_repeated(second_, call));
        } catch (const ConnectionLost &) {
            if (acknowledged.empty() || acknowledged.back().key != call.batches[0].keys.back())
                for (const Appended &event : events_of(call, {}))
                    doubtful.push_back(event);
            throw;
        }
    }

    // --- transactions ---

    void begin(const std::string &level) {
        connection_.run("BEGIN ISOLATION LEVEL " + level);
        transaction_ = make_key(world_.run, number_, ++transactions_);
        pending_.clear();
        counts.transactions++;
    }

    void commit() {
        try {
            connection_.run("COMMIT");
        } catch (const ConnectionLost &) {
            for (Appended event : pending_) {
                event.version = 0;
                doubtful.push_back(event);
            }
            throw;
        }
        acknowledge(pending_);
    }

    void rollback() {
        connection_.run("ROLLBACK");
        counts.rollbacks++;
    }

    std::vector<Range> append_pending(const Call &call) {
        std::vector<Range> answer = run_call(call);
        std::vector<Appended> events = events_of(call, answer);
        pending_.insert(pending_.end(), events.begin(), events.end());
        return answer;
    }

    // What the isolation level demands, and deadlocks of transactions that lock in their own order, are nobody's fault.
    // PostgreSQL may choose one who only waits behind two that deadlock, so a single call can be the victim too.
    bool is_expected(const DatabaseError &error, const std::string &level) {
        if (error.is("40P01"))
            counts.deadlocks++;
        else if (error.is("40001") && level != "READ COMMITTED")
            counts.serialization++;
        else
            return false;
        return true;
    }

    void transaction() {
        static const char *levels[] = {"READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"};
        std::string level = levels[below(4)];
        begin(level);
        try {
            for (int steps = 1 + below(5); steps > 0; steps--)
                step();
            if (chance(10)) {
                fails("SELECT 1/0", "22012");
                rollback();
            } else if (chance(15)) {
                rollback();
            } else {
                commit();
            }
        } catch (const DatabaseError &error) {
            if (!is_expected(error, level))
                throw;
            rollback();
        }
    }

    void step() {
        switch (below(7)) {
        case 0:
            savepoint(1);
            break;
        case 1:
            caught_conflict();
            break;
        case 2:
            retry_inside();
            break;
        case 3:
            undone_block();
            break;
        case 4:
            append_and_read();
            break;
        case 5:
            connection_.run("SELECT pg_sleep($1::float8)", {std::to_string(below(10) / 1000.0)});
            [[fallthrough]];
        default:
            (void)append_pending(any_call());
        }
    }

    // Appends under a savepoint that is kept or undone; what was undone may be appended again with the same ids.
    void savepoint(int depth) {
        counts.savepoints++;
        std::string name = "s" + std::to_string(depth);
        connection_.run("SAVEPOINT " + name);
        size_t before = pending_.size();
        Call call = any_call();
        (void)append_pending(call);
        if (depth < 4 && chance(40))
            savepoint(depth + 1);
        if (chance(50)) {
            connection_.run("RELEASE " + name);
            return;
        }
        connection_.run("ROLLBACK TO " + name);
        pending_.resize(before);
        if (chance(50))
            (void)append_pending(call);
    }

    void fails(const std::string &sql, const char *sqlstate) {
        try {
            connection_.run(sql);
            check(false, "this should have failed with " + std::string(sqlstate) + ": " + sql);
        } catch (const DatabaseError &error) {
            if (!error.is(sqlstate))
                throw;
        }
    }

    void caught_conflict() {
        connection_.run("SAVEPOINT c");
        fails("SELECT append_event('" + name_of(any_stream()) + "', 'Never', expected_version => 1000000000)", "CH001");
        connection_.run("ROLLBACK TO c");
        counts.conflicts++;
    }

    // One's own events are there at once, also in a stream that somebody else made after the snapshot. What is read of
    // another stream first makes SERIALIZABLE transactions depend on each other.
    void append_and_read() {
        connection_.run("SELECT count(*) FROM read_stream($1)", {name_of(any_stream())});
        Call call = make_call(Call::Form::events, {any_stream()}, 5, false);
        Range range = append_pending(call)[0];
        Rows rows = connection_.run("SELECT version, data->>'k' FROM read_stream($1, $2::bigint)",
                                    {name_of(call.batches[0].stream), std::to_string(range.first)});
        bool same = rows.count() == static_cast<int>(call.batches[0].keys.size());
        for (int i = 0; same && i < rows.count(); i++)
            same = rows.number(i, 0) == range.first + i &&
                   static_cast<uint64_t>(rows.number(i, 1)) == call.batches[0].keys[static_cast<size_t>(i)];
        check(same, "its own events, versions " + describe(range) + " of " + name_of(call.batches[0].stream) +
                        ", are not what it reads in the same transaction");
    }

    void retry_inside() {
        Call call = make_call(Call::Form::arrays, {any_stream()}, 5, true);
        Remembered first{call, append_pending(call)};
        counts.retries++;
        check_retry(first, run_call(call));
    }

    // An append that a PL/pgSQL block undoes without the client's knowing.
    void undone_block() {
        std::string stream = name_of(any_stream());
        connection_.run("DO $$ BEGIN PERFORM append_event('" + stream +
                        "', 'Undone', '{\"k\": 1}');"
                        " RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$");
        counts.savepoints++;
    }

    // Two streams in either order: what loses the deadlock is repeated, with the same ids, until it commits.
    void opposite_order() {
        int a = 1 + below(3), b = 4 + below(3);
        if (b > world_.options.streams)
            return;
        if (chance(50))
            std::swap(a, b);
        Call first = make_call(Call::Form::event, {a}, 1, true), second = make_call(Call::Form::events, {b}, 3, true);
        while (!world_.ended()) {
            begin("READ COMMITTED");
            try {
                (void)append_pending(first);
                (void)append_pending(second);
                commit();
                return;
            } catch (const DatabaseError &error) {
                if (!is_expected(error, "READ COMMITTED"))
                    throw;
                rollback();
            }
        }
    }

    World &world_;
    int number_;
    std::mt19937_64 random_;
    Connection connection_, second_;
    uint64_t next_ = 1, transactions_ = 0, transaction_ = 0;
    std::vector<Appended> pending_;
    std::vector<Remembered> remembered_;
};

} // namespace torture
