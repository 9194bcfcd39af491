// How long one waits, on an idle server: prints the 95th percentile of many waits, as waits per second.
//
//   latency projected CONNINFO SECONDS   from sending COMMIT, after an append, until wait_for_projection() is back
//   latency notify CONNINFO SECONDS      from sending NOTIFY to another session, which commits a row and sends NOTIFY
//                                        back, until that is here: a round trip and one commit
//
// Between two waits it sleeps for 5 to 15 ms, so that every process has gone to sleep as well.
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

class Connection {
public:
    explicit Connection(const std::string &conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
        if (PQstatus(connection_) != CONNECTION_OK)
            fail();
    }
    ~Connection() { PQfinish(connection_); }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    /// The first value of the result.
    std::string run(const char *sql) {
        PGresult *result = PQexec(connection_, sql);
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            fail();
        std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
        PQclear(result);
        return value;
    }
    /// Waits for a notification; false: none came in so many milliseconds.
    bool notified(int timeout_ms) {
        for (;;) {
            if (PGnotify *notify = PQnotifies(connection_)) {
                PQfreemem(notify);
                return true;
            }
            pollfd readable{.fd = PQsocket(connection_), .events = POLLIN, .revents = 0};
            if (poll(&readable, 1, timeout_ms) == 0)
                return false;
            if (PQconsumeInput(connection_) == 0)
                fail();
        }
    }

private:
    [[noreturn]] void fail() {
        std::fprintf(stderr, "latency: %s", PQerrorMessage(connection_));
        std::exit(1);
    }
    PGconn *connection_;
};

// Runs `wait`, which measures itself, until the time is up.
template <typename Wait> std::vector<double> sample(int seconds, Wait &&wait) {
    std::mt19937 random(4711);
    std::uniform_int_distribution<int> pause_us(5000, 15000);
    std::vector<double> samples;
    for (Clock::time_point end = Clock::now() + std::chrono::seconds(seconds); Clock::now() < end;) {
        std::this_thread::sleep_for(std::chrono::microseconds(pause_us(random)));
        Clock::time_point began = wait();
        samples.push_back(std::chrono::duration<double>(Clock::now() - began).count());
    }
    return samples;
}

std::vector<double> projected(const std::string &conninfo, int seconds) {
    Connection client(conninfo);
    return sample(seconds, [&] {
        client.run("BEGIN");
        client.run("SELECT chronicle.append_event('latency-1', 'noted', '{\"amount\": 1}')");
        Clock::time_point began = Clock::now();
        client.run("COMMIT");
        if (client.run("SELECT chronicle.wait_for_projection('latency')") != "t") {
            std::fprintf(stderr, "latency: it was not projected in ten seconds\n");
            std::exit(1);
        }
        return began;
    });
}

std::vector<double> notify(const std::string &conninfo, int seconds) {
    std::atomic<bool> over = false;
    std::atomic<bool> listening = false;
    std::thread other([&] {
        Connection server(conninfo);
        server.run("LISTEN ping");
        listening = true;
        while (!over)
            if (server.notified(100)) {
                server.run("UPDATE bench.pinged SET n = n + 1");
                server.run("NOTIFY pong");
            }
    });
    Connection client(conninfo);
    client.run("LISTEN pong");
    while (!listening)
        std::this_thread::yield();
    std::vector<double> samples = sample(seconds, [&] {
        Clock::time_point began = Clock::now();
        client.run("NOTIFY ping");
        if (!client.notified(10000)) {
            std::fprintf(stderr, "latency: no answer in ten seconds\n");
            std::exit(1);
        }
        return began;
    });
    over = true;
    other.join();
    return samples;
}

} // namespace

int main(int count, char **arguments) {
    std::string mode = count == 4 ? arguments[1] : "";
    if (mode != "projected" && mode != "notify") {
        std::fprintf(stderr, "usage: latency projected|notify CONNINFO SECONDS\n");
        return 2;
    }
    int seconds = std::atoi(arguments[3]);
    std::vector<double> samples = (mode == "notify" ? notify : projected)(arguments[2], seconds);
    std::sort(samples.begin(), samples.end());
    std::printf("%.1f\n", 1 / samples[samples.size() * 95 / 100]);
    return 0;
}
