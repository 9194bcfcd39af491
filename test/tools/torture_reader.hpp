// The torture program: readers that follow the log, and what each way of reading promises.
#pragma once

#include "torture_support.hpp"

#include <algorithm>

namespace torture {

// One way of following the log: $1 is the position after which to read, $2 how many.
struct Form {
    std::string name, sql;
    std::string begin; // of a transaction around several pages
    bool everything = false; // all our events
    bool whole_streams = false; // of each stream all or nothing: versions have no holes
    std::function<bool(const Seen &)> wants;
    int members = 1; // of a consumer group: $3 is the member
    bool checkpoint = false; // asks for the safe position first, and goes there when nothing is left below it
    std::chrono::seconds lasting{0}; // of the transaction, in which thousands of others commit
};

inline std::vector<Form> reader_forms() {
    auto all = [](const Seen &) { return true; };
    auto category = [](const char *name) {
        return [name = std::string(name)](const Seen &e) { return category_of(e.stream) == name; };
    };
    std::string select = "SELECT " + seen_columns + " FROM ";
    std::string page = select + "read_all($1::bigint, $2::bigint)";
    std::string repeatable = "BEGIN ISOLATION LEVEL REPEATABLE READ";
    return {
        {"read_all", page, "", true, true, all},
        // The look comes long after the statement's snapshot.
        {"read_all, late", select + "read_all((SELECT $1::bigint FROM pg_sleep(0.01)), $2::bigint)", "", true, true,
         all},
        {"read_all in REPEATABLE READ", page, repeatable, true, true, all, 1, true},
        {"safe_position in one statement",
         select + "events WHERE global_position > $1::bigint AND global_position <= (SELECT safe_position()) AND "
                  "category LIKE 'torture%' ORDER BY global_position LIMIT $2::bigint",
         "", true, true, all},
        {"read_all by category", select + "read_all($1::bigint, $2::bigint, categories => '{torture_a,torture_c}')", "",
         false, true,
         [](const Seen &e) { return category_of(e.stream) == "torture_a" || category_of(e.stream) == "torture_c"; }},
        {"read_all by type", select + "read_all($1::bigint, $2::bigint, types => '{Rare,Type2}')", "", false, false,
         [](const Seen &e) { return type_of(e.key) == "Rare" || type_of(e.key) == "Type2"; }},
        {"read_category", select + "read_category('torture_b', $1::bigint, $2::bigint)", "", false, true,
         category("torture_b"), 1, true},
        {"consumer group of 3", select + "read_category('torture_a', $1::bigint, $2::bigint, 3, $3::int)", "", false,
         true, category("torture_a"), 3},
        {"consumer group of 4 in REPEATABLE READ",
         select + "read_category('torture_d', $1::bigint, $2::bigint, 4, $3::int)", repeatable, false, true,
         category("torture_d"), 4, true},
        {"read_all by category and type, late",
         select + "read_all((SELECT $1::bigint FROM pg_sleep(0.005)), $2::bigint, categories => '{torture_a,torture_b}'"
                  ", types => '{Type1}')",
         "", false, false,
         [](const Seen &e) { return e.stream != probe_stream && e.stream % 4 < 2 && type_of(e.key) == "Type1"; }},
        {"read_all in long transactions",
         select + "read_all($1::bigint, $2::bigint, categories => '{torture_a,torture_b,torture_c,torture_d}')",
         repeatable, false, true, [](const Seen &e) { return e.stream != probe_stream; }, 1, true, 4s},
        {"read_all by regex", select + "read_all($1::bigint, $2::bigint, stream_regex => '-[1-9]$')", "", false, true,
         [](const Seen &e) { return e.stream >= 1 && e.stream <= 9; }},
    };
}

class Reader {
public:
    Reader(World &world, const Form &form, int number)
        : form(form), world_(world), who_("reader " + std::to_string(number) + " (" + form.name + ")"),
          random_(mix(world.options.seed + 1000) + static_cast<uint64_t>(number)),
          cursors_(static_cast<size_t>(form.members)) {}

    // From the beginning, until told to stop and nothing is left.
    void follow() {
        Connection connection(world_.options.conninfo);
        while (!world_.ended()) {
            bool draining = world_.drain; // before the snapshot: what is not there then was read
            int64_t got = form.begin.empty() ? read_pages(connection) : read_transaction(connection);
            if (got == 0 && draining)
                return;
            if (got == 0)
                std::this_thread::sleep_for(1ms);
        }
    }

    int64_t count() const { return count_; }
    int64_t position() const { return position_; }
    const std::string &who() const { return who_; }
    // What it saw, in order.
    std::vector<Seen> seen() const {
        std::vector<Seen> all;
        for (const Cursor &cursor : cursors_)
            all.insert(all.end(), cursor.seen.begin(), cursor.seen.end());
        std::sort(all.begin(), all.end(), [](const Seen &a, const Seen &b) { return a.position < b.position; });
        return all;
    }

    const Form form;

private:
    struct Cursor {
        int64_t after = 0;
        std::vector<Seen> seen;
    };

    // One page of each member.
    int64_t read_pages(Connection &connection) {
        int64_t got = 0;
        for (size_t member = 0; member < cursors_.size(); member++)
            got += read_page(connection, static_cast<int>(member));
        return got;
    }

    int64_t read_transaction(Connection &connection) {
        auto end = Clock::now() + form.lasting;
        connection.run(form.begin);
        int64_t got = 0;
        for (int pages = 0; pages < 3 || (Clock::now() < end && !world_.drain && !world_.ended()); pages++) {
            got += read_pages(connection);
            if (pages >= 3)
                std::this_thread::sleep_for(20ms);
        }
        connection.run("COMMIT");
        return got;
    }

    int read_page(Connection &connection, int member) {
        Cursor &cursor = cursors_[static_cast<size_t>(member)];
        int64_t safe = form.checkpoint ? connection.run("SELECT safe_position()").number(0, 0) : 0;
        int limit = std::uniform_int_distribution<int>(1, random_() % 8 == 0 ? 5 : 1000)(random_);
        std::vector<Text> parameters{std::to_string(cursor.after), std::to_string(limit)};
        if (form.members > 1)
            parameters.push_back(std::to_string(member));
        Rows rows = connection.run(form.sql, parameters);
        for (int row = 0; row < rows.count(); row++)
            take(rows, row, cursor, member);
        if (rows.count() < limit)
            cursor.after = std::max(cursor.after, safe);
        position_ = cursor.after;
        return rows.count();
    }

    void take(const Rows &rows, int row, Cursor &cursor, int member) {
        int64_t position = rows.number(row, 0);
        if (position <= cursor.after)
            world_.violations.add(who_ + ": position " + std::to_string(position) + " came after " +
                                  std::to_string(cursor.after));
        cursor.after = position;
        std::optional<Seen> seen = read_seen(rows, row, world_.violations, who_);
        if (!seen)
            return;
        if (!form.wants(*seen))
            world_.violations.add(who_ + " did not ask for " + describe(*seen));
        if (form.whole_streams)
            check_version(*seen);
        if (form.members > 1)
            check_member(*seen, member);
        cursor.seen.push_back(*seen);
        count_++;
    }

    void check_version(const Seen &seen) {
        int64_t &last = versions_[seen.stream];
        if (seen.version != last + 1)
            world_.violations.add(who_ + ": after version " + std::to_string(last) + " of " + name_of(seen.stream) +
                                  " came " + describe(seen));
        last = seen.version;
    }

    void check_member(const Seen &seen, int member) {
        auto [owner, is_new] = members_.emplace(seen.stream, member);
        if (owner->second != member)
            world_.violations.add(who_ + ": " + name_of(seen.stream) + " came to the members " +
                                  std::to_string(owner->second) + " and " + std::to_string(member));
    }

    World &world_;
    std::string who_;
    std::mt19937_64 random_;
    std::vector<Cursor> cursors_;
    std::unordered_map<int, int64_t> versions_;
    std::unordered_map<int, int> members_;
    std::atomic<int64_t> count_{0}, position_{0};
};

// --- one snapshot ---

// Pages through read_all inside one REPEATABLE READ transaction, and compares with what the same snapshot sees in the
// view: up to the safe position they are the same. The transaction is open already.
inline int64_t compare_with_snapshot(World &world, Connection &connection, int64_t after, const std::string &who) {
    std::vector<int64_t> read;
    int64_t last = after, safe = 0;
    for (bool more = true; more;) {
        int64_t now = connection.run("SELECT safe_position()").number(0, 0);
        if (now < safe)
            world.violations.add(who + ": the safe position of one snapshot fell from " + std::to_string(safe) +
                                 " to " + std::to_string(now));
        safe = now;
        Rows rows = connection.run("SELECT global_position FROM read_all($1::bigint, 700)", {std::to_string(last)});
        for (int row = 0; row < rows.count(); row++)
            read.push_back(last = rows.number(row, 0));
        more = rows.count() > 0;
    }
    // Above `safe` lies only what an abort made safe in between.
    std::string limit = std::to_string(std::max(last, safe));
    Rows rows = connection.run("SELECT global_position FROM events WHERE global_position > $1::bigint AND "
                               "global_position <= $2::bigint AND category <> 'workflow' ORDER BY 1",
                               {std::to_string(after), limit});
    std::vector<int64_t> visible;
    for (int row = 0; row < rows.count(); row++)
        visible.push_back(rows.number(row, 0));
    if (read == visible)
        return static_cast<int64_t>(read.size());
    auto differs = std::mismatch(read.begin(), read.end(), visible.begin(), visible.end());
    auto at = [](auto it, const auto &in) { return it == in.end() ? std::string("none") : std::to_string(*it); };
    world.violations.add(who + ": up to " + limit + " its snapshot sees " + std::to_string(visible.size()) +
                         " events and read_all gave " + std::to_string(read.size()) + "; first difference: " +
                         at(differs.second, visible) + " is visible, " + at(differs.first, read) + " was read");
    return 0;
}

// Again and again, over the newest part of the log.
inline void run_snapshot_reader(World &world, std::atomic<int64_t> &compared) {
    Connection connection(world.options.conninfo);
    while (!world.stop && !world.ended()) {
        connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        int64_t top = connection.run("SELECT coalesce(max(global_position), 0) FROM events").number(0, 0);
        int64_t after = std::max<int64_t>(0, top - 3000);
        compared += compare_with_snapshot(world, connection, after, "snapshot reader");
        connection.run("SELECT pg_sleep(0.05)");
        compared += compare_with_snapshot(world, connection, after, "snapshot reader, later");
        connection.run("COMMIT");
    }
}

} // namespace torture
