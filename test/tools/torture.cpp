// Tortures the event store: writers that do everything a client may do, readers that follow the log in every way, and
// transactions that stay open beside them. Every violation of what the store promises is told in words.
//
//   torture --conninfo "dbname=a" --other-conninfo "dbname=b" --seconds 60 --seed 7
//
// With --crash-log FILE a server that goes away ends the run; FILE then says what was acknowledged and seen, also by
// the runs before. After the restart `torture --verify FILE` compares (--allow-loss: synchronous_commit was off). Exit
// status 0: the last line has the counts; 1: violations; 2: wrong arguments.
#include "torture_ledger.hpp"
#include "torture_reader.hpp"
#include "torture_writer.hpp"

#include <cstdio>
#include <cstring>

namespace torture {
namespace {

// --- transactions that stay open ---

// They have no events to give, or are of another database: no reader may wait for them.
class IdleTransactions {
public:
    explicit IdleTransactions(World &world) : world_(world) {
        const std::string &conninfo = world.options.conninfo;
        reader_ = open(conninfo, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT count(*) FROM events");
        (void)open(conninfo, "BEGIN", "CREATE TEMP TABLE torture_idle AS SELECT txid_current()");
        Connection *undone = open(conninfo, "BEGIN", "SAVEPOINT s");
        undone->run("SELECT append_event('torture_p-0', 'Undone', '{\"k\": 1}')");
        undone->run("ROLLBACK TO s");
        if (world.options.other_conninfo.empty())
            return;
        Connection *other = open(world.options.other_conninfo, "BEGIN", "CREATE TABLE torture_idle (id int)");
        if (other->run("SELECT 1 FROM pg_extension WHERE extname = 'chronicle'").count() > 0)
            other->run("SELECT append_event('torture_other-1', 'Idle')");
    }

    // The old snapshot still agrees with itself, whatever was committed since.
    void finish() {
        int64_t after = 0;
        (void)compare_with_snapshot(world_, *reader_, after, "the long idle reader");
        for (auto &connection : connections_)
            connection->run("ROLLBACK");
    }
    size_t count() const { return connections_.size(); }

private:
    Connection *open(const std::string &conninfo, const char *begin, const char *first) {
        connections_.push_back(std::make_unique<Connection>(conninfo));
        connections_.back()->run(begin);
        connections_.back()->run(first);
        return connections_.back().get();
    }

    World &world_;
    std::vector<std::unique_ptr<Connection>> connections_;
    Connection *reader_;
};

// --- progress ---

// False, and a violation, when the condition does not come about in time.
bool within_deadline(World &world, const std::function<bool()> &condition,
                     const std::function<std::string()> &otherwise) {
    auto deadline = Clock::now() + std::chrono::seconds(world.options.deadline);
    while (!condition()) {
        if (world.ended())
            return false;
        if (Clock::now() > deadline) {
            world.violations.add("after " + std::to_string(world.options.deadline) + " s: " + otherwise());
            return false;
        }
        std::this_thread::sleep_for(2ms);
    }
    return true;
}

// Commits an event now and then and waits until every reader of everything is past it.
void run_probe(World &world, Writer &writer, const std::vector<std::unique_ptr<Reader>> &readers,
               std::atomic<int64_t> &probes) {
    for (; !world.stop && !world.ended(); probes++) {
        writer.append_to(probe_stream);
        int64_t position = writer.connection().run("SELECT last_position()").number(0, 0);
        for (const auto &reader : readers)
            if (reader->form.everything)
                within_deadline(
                    world, [&] { return reader->position() >= position; },
                    [&] {
                        return reader->who() + " stands at " + std::to_string(reader->position()) +
                               ", an event was committed at " + std::to_string(position);
                    });
    }
}

// --- one run ---

class Run {
public:
    explicit Run(World &world) : world_(world), connection_(world.options.conninfo) {
        if (!world.options.crash_log.empty())
            ledger_ = load_ledger(world.options.crash_log);
        uint64_t last_run = ledger_.last_run();
        for (const Seen &event : load_stored(connection_, world.violations)) {
            last_run = std::max(last_run, event.key >> 40);
            if (event.stream <= world.options.streams)
                world.saw_version(event.stream, event.version);
            if (world.options.crash_log.empty()) // what an earlier run left
                ledger_.acknowledged[event.key] = {event.key, event.stream, event.version, 0, false};
            world.stored++;
        }
        world.run = last_run + 1;
        std::vector<Form> forms = reader_forms();
        for (int i = 0; i < world.options.readers; i++)
            readers_.push_back(std::make_unique<Reader>(world, forms[static_cast<size_t>(i) % forms.size()], i + 1));
        world.slowest_reader = [this] { return slowest_reader(); };
        for (int i = 0; i <= world.options.writers; i++)
            writers_.push_back(std::make_unique<Writer>(world, i));
    }

    void torture() {
        IdleTransactions idle(world_);
        idle_ = idle.count();
        guarded(world_, "start", [this] { start(); });
        auto end = Clock::now() + std::chrono::seconds(world_.options.seconds);
        while (Clock::now() < end && !world_.ended())
            std::this_thread::sleep_for(20ms);
        world_.stop = true;
        for (std::thread &thread : writer_threads_)
            thread.join();
        guarded(world_, "the end", [this] { drain(); });
        world_.drain = true;
        for (std::thread &thread : reader_threads_)
            thread.join();
        if (!world_.ended())
            guarded(world_, "the long idle reader", [&] { idle.finish(); });
    }

    void compare() {
        for (const auto &writer : writers_)
            ledger_.add(writer->acknowledged, writer->doubtful);
        for (const auto &reader : readers_) {
            ledger_.add_seen(reader->seen(), world_.violations, reader->who());
            if (reader->form.everything)
                ledger_.complete_to = std::max(ledger_.complete_to, reader->position());
        }
        if (!world_.options.crash_log.empty())
            save_ledger(ledger_, world_.options.crash_log);
        if (world_.lost)
            return;
        std::vector<Seen> stored = load_stored(connection_, world_.violations);
        Lost lost;
        check_stored(ledger_, stored, world_.options.allow_loss, lost, world_.violations);
        if (world_.violations.count() == 0) // otherwise the readers were stopped early
            for (const auto &reader : readers_)
                compare_reader(*reader, stored);
    }

    std::string summary() const {
        WriterCounts c;
        for (const auto &writer : writers_)
            c.add(writer->counts);
        int64_t read = 0;
        for (const auto &reader : readers_)
            read += reader->count();
        auto count = [](int64_t n, const char *what) { return std::to_string(n) + " " + what; };
        return count(static_cast<int64_t>(ledger_.acknowledged.size()), "events acknowledged, ") +
               count(static_cast<int64_t>(ledger_.doubtful.size()), "in doubt, ") + count(c.calls, "calls, ") +
               count(c.transactions, "transactions, ") + count(c.savepoints, "savepoints, ") +
               count(c.rollbacks, "rollbacks, ") + count(c.conflicts, "conflicts, ") + count(c.retries, "retries, ") +
               count(c.twins, "twin calls, ") + count(c.deadlocks, "deadlocks, ") +
               count(c.serialization, "serialization failures, ") + count(read, "events read by ") +
               count(static_cast<int64_t>(readers_.size()), "readers, ") +
               count(compared_, "compared with a snapshot, ") + count(probes_, "probes beside ") +
               count(static_cast<int64_t>(idle_), "idle transactions");
    }

private:
    void start() {
        for (auto &reader : readers_)
            reader_threads_.push_back(start_thread(world_, reader->who(), [&r = *reader] { r.follow(); }));
        // A log that is there already comes first: writers wait for readers that are far behind.
        while (world_.stored - slowest_reader() > 5000 && !world_.ended())
            std::this_thread::sleep_for(2ms);
        for (size_t i = 1; i < writers_.size(); i++)
            writer_threads_.push_back(
                start_thread(world_, "writer " + std::to_string(i), [&w = *writers_[i]] { w.run(); }));
        writer_threads_.push_back(
            start_thread(world_, "probe", [this] { run_probe(world_, *writers_[0], readers_, probes_); }));
        writer_threads_.push_back(
            start_thread(world_, "snapshot reader", [this] { run_snapshot_reader(world_, compared_); }));
    }

    // The writers have ended: everything is safe, and read, in time, though the idle transactions are open.
    void drain() {
        if (world_.ended())
            return;
        std::string last_stored = "SELECT coalesce(max(global_position), 0) FROM events WHERE category LIKE 'torture%'";
        int64_t last = connection_.run(last_stored).number(0, 0), safe = 0;
        within_deadline(
            world_, [&] { return (safe = connection_.run("SELECT safe_position()").number(0, 0)) >= last; },
            [&] {
                return "the safe position stays at " + std::to_string(safe) + ", the last event is at " +
                       std::to_string(last) + ", and no writer is left";
            });
    }

    void compare_reader(const Reader &reader, const std::vector<Seen> &stored) {
        std::vector<Seen> wanted, seen = reader.seen();
        std::copy_if(stored.begin(), stored.end(), std::back_inserter(wanted), reader.form.wants);
        auto [w, s] = std::mismatch(wanted.begin(), wanted.end(), seen.begin(), seen.end());
        if (w == wanted.end() && s == seen.end())
            return;
        world_.violations.add(reader.who() + " saw " + std::to_string(seen.size()) + " events, " +
                              std::to_string(wanted.size()) + " are stored; first difference: stored " +
                              (w == wanted.end() ? "nothing more" : describe(*w)) + ", seen " +
                              (s == seen.end() ? "nothing more" : describe(*s)));
    }

    int64_t slowest_reader() const {
        int64_t slowest = world_.stored;
        for (const auto &reader : readers_)
            if (reader->form.everything)
                slowest = std::min(slowest, reader->count());
        return slowest;
    }

    World &world_;
    Connection connection_;
    Ledger ledger_;
    std::vector<std::unique_ptr<Reader>> readers_;
    std::vector<std::unique_ptr<Writer>> writers_; // the first one is the probe's
    std::vector<std::thread> reader_threads_, writer_threads_;
    std::atomic<int64_t> compared_{0}, probes_{0};
    size_t idle_ = 0;
};

// --- after a crash ---

std::string verify(World &world) {
    Connection connection(world.options.conninfo);
    Ledger ledger = load_ledger(world.options.verify);
    std::vector<Seen> stored = load_stored(connection, world.violations);
    Lost lost;
    check_stored(ledger, stored, world.options.allow_loss, lost, world.violations);
    check_seen(ledger, stored, world.options.allow_loss, lost, world.violations);

    int64_t highest = ledger.seen.empty() ? 0 : ledger.seen.rbegin()->first;
    world.run = ledger.last_run() + 1;
    Writer writer(world, 0);
    writer.append_to(probe_stream);
    int64_t position = writer.connection().run("SELECT last_position()").number(0, 0);
    if (position <= highest)
        world.violations.add("after the crash position " + std::to_string(position) +
                             " was given, but a reader had seen " + std::to_string(highest));
    int retried = check_retries(connection, ledger, stored, world.violations);
    ledger.add(writer.acknowledged, writer.doubtful);
    save_ledger(ledger, world.options.verify);
    return std::to_string(stored.size()) + " events stored, " + std::to_string(ledger.seen.size()) +
           " positions seen before, " + std::to_string(lost.acknowledged) + " acknowledged events lost, " +
           std::to_string(lost.seen) + " seen events lost, " + std::to_string(retried) +
           " calls repeated by id, highest position seen " + std::to_string(highest) + ", next " +
           std::to_string(position);
}

// --- arguments ---

Options parse_arguments(int argc, char **argv) {
    Options o;
    std::map<std::string, std::function<void(const std::string &)>> values = {
        {"--conninfo", [&](const std::string &v) { o.conninfo = v; }},
        {"--other-conninfo", [&](const std::string &v) { o.other_conninfo = v; }},
        {"--crash-log", [&](const std::string &v) { o.crash_log = v; }},
        {"--verify", [&](const std::string &v) { o.verify = v; }},
        {"--seconds", [&](const std::string &v) { o.seconds = std::stoi(v); }},
        {"--writers", [&](const std::string &v) { o.writers = std::stoi(v); }},
        {"--readers", [&](const std::string &v) { o.readers = std::stoi(v); }},
        {"--streams", [&](const std::string &v) { o.streams = std::stoi(v); }},
        {"--deadline", [&](const std::string &v) { o.deadline = std::stoi(v); }},
        {"--seed", [&](const std::string &v) { o.seed = std::stoull(v); }},
    };
    for (int i = 1; i < argc; i++) {
        auto option = values.find(argv[i]);
        if (strcmp(argv[i], "--allow-loss") == 0)
            o.allow_loss = true;
        else if (option != values.end() && i + 1 < argc)
            option->second(argv[++i]);
        else
            throw std::invalid_argument(std::string("unknown or incomplete argument ") + argv[i]);
    }
    if (o.streams < 6 || o.writers < 1 || o.writers > 255 || o.readers < 1)
        throw std::invalid_argument("at least 6 streams, 1 reader, and 1 to 255 writers");
    return o;
}

int finish(World &world, const std::string &summary) {
    for (const std::string &violation : world.violations.first())
        printf("VIOLATION: %s\n", violation.c_str());
    printf("torture: seed %llu, run %llu%s: %d violations; %s\n", static_cast<unsigned long long>(world.options.seed),
           static_cast<unsigned long long>(world.run), world.lost ? ", the server went away" : "",
           world.violations.count(), summary.c_str());
    return world.violations.count() > 0 ? 1 : 0;
}

int run(const Options &options) {
    World world(options);
    if (!options.verify.empty())
        return finish(world, verify(world));
    Run run(world);
    run.torture();
    run.compare();
    return finish(world, run.summary());
}

} // namespace
} // namespace torture

int main(int argc, char **argv) {
    try {
        return torture::run(torture::parse_arguments(argc, argv));
    } catch (const std::invalid_argument &error) {
        fprintf(stderr, "torture: %s\n", error.what());
        return 2;
    } catch (const std::exception &error) {
        printf("torture: %s\n", error.what());
        return 1;
    }
}
