// The torture program: what its clients know, kept in a file from one run to the next, and the comparison of it with
// what the database has.
#pragma once

#include "torture_calls.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace torture {

struct Ledger {
    std::unordered_map<uint64_t, Appended> acknowledged, doubtful;
    std::map<int64_t, Seen> seen; // by position: all readers together
    int64_t complete_to = 0; // the farthest that a reader of everything came

    void add(const std::vector<Appended> &acked, const std::vector<Appended> &in_doubt) {
        for (const Appended &event : acked)
            acknowledged[event.key] = event;
        for (const Appended &event : in_doubt)
            doubtful[event.key] = event;
    }

    void add_seen(const std::vector<Seen> &events, Violations &violations, const std::string &who) {
        for (const Seen &event : events)
            if (auto [before, is_new] = seen.emplace(event.position, event); !is_new && before->second != event)
                violations.add(who + " saw " + describe(event) + ", where another reader had seen " +
                               describe(before->second));
    }

    uint64_t last_run() const {
        uint64_t last = 0;
        for (const auto *known : {&acknowledged, &doubtful})
            for (const auto &[key, event] : *known)
                last = std::max(last, key >> 40);
        return last;
    }
};

// Lines: "ack|doubt key stream version transaction repeatable", "seen position key stream version", "complete
// position".
inline Ledger load_ledger(const std::string &file) {
    Ledger ledger;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string kind;
        Appended a;
        Seen s;
        words >> kind;
        if (kind == "seen" && words >> s.position >> s.key >> s.stream >> s.version)
            ledger.seen[s.position] = s;
        else if (kind == "complete" && words >> ledger.complete_to)
            continue;
        else if (words >> a.key >> a.stream >> a.version >> a.transaction >> a.repeatable)
            (kind == "ack" ? ledger.acknowledged : ledger.doubtful)[a.key] = a;
        else
            throw std::runtime_error(file + " has a line that is none of ours: " + line);
    }
    return ledger;
}

inline void save_ledger(const Ledger &ledger, const std::string &file) {
    std::ofstream out(file, std::ios::trunc);
    auto write = [&](const char *kind, const Appended &a) {
        out << kind << ' ' << a.key << ' ' << a.stream << ' ' << a.version << ' ' << a.transaction << ' '
            << a.repeatable << '\n';
    };
    for (const auto &[key, event] : ledger.acknowledged)
        write("ack", event);
    for (const auto &[key, event] : ledger.doubtful)
        write("doubt", event);
    for (const auto &[position, s] : ledger.seen)
        out << "seen " << s.position << ' ' << s.key << ' ' << s.stream << ' ' << s.version << '\n';
    out << "complete " << ledger.complete_to << '\n';
    out.close();
    if (!out)
        throw std::runtime_error("cannot write " + file);
}

inline std::vector<Seen> load_stored(Connection &connection, Violations &violations) {
    Rows rows = connection.run("SELECT " + seen_columns +
                               " FROM events WHERE category LIKE 'torture%' ORDER BY global_position");
    std::vector<Seen> stored;
    for (int row = 0; row < rows.count(); row++) {
        if (std::optional<Seen> event = read_seen(rows, row, violations, "the log"))
            stored.push_back(*event);
        else
            violations.add(std::string("an event is stored that nobody committed: type ") + rows.text(row, 3) + " in " +
                           rows.text(row, 1));
    }
    return stored;
}

// --- comparisons ---

struct Lost {
    int64_t acknowledged = 0, seen = 0; // with synchronous_commit = off
};

inline void check_versions(const std::vector<Seen> &stored, Violations &violations) {
    std::unordered_map<int, int64_t> versions;
    for (const Seen &event : stored) {
        int64_t &last = versions[event.stream];
        if (event.version != last + 1)
            violations.add("stored after version " + std::to_string(last) + ": " + describe(event));
        last = event.version;
    }
}

// A transaction is there as a whole or not at all.
inline void check_whole(const Ledger &ledger, const std::unordered_map<uint64_t, Seen> &stored,
                        Violations &violations) {
    std::unordered_map<uint64_t, std::pair<int, int>> found; // transaction → events there, events in all
    for (const auto *known : {&ledger.acknowledged, &ledger.doubtful})
        for (const auto &[key, event] : *known)
            if (event.transaction != 0) {
                auto &[there, all] = found[event.transaction];
                there += stored.count(key) > 0;
                all++;
            }
    for (const auto &[transaction, counts] : found)
        if (counts.first != 0 && counts.first != counts.second)
            violations.add("of the " + std::to_string(counts.second) + " events of transaction " +
                           std::to_string(transaction) + " there are " + std::to_string(counts.first));
}

// What was acknowledged is stored as the answer said, and nothing is stored that nobody appended.
inline void check_stored(const Ledger &ledger, const std::vector<Seen> &stored, bool allow_loss, Lost &lost,
                         Violations &violations) {
    check_versions(stored, violations);
    std::unordered_map<uint64_t, Seen> by_key;
    for (const Seen &event : stored) {
        if (auto [other, is_new] = by_key.emplace(event.key, event); !is_new)
            violations.add("stored twice: " + describe(event) + ", and at position " +
                           std::to_string(other->second.position));
        if (!ledger.acknowledged.count(event.key) && !ledger.doubtful.count(event.key))
            violations.add("stored, but its append was undone or refused: " + describe(event));
    }
    for (const auto &[key, event] : ledger.acknowledged) {
        auto there = by_key.find(key);
        if (there == by_key.end()) {
            lost.acknowledged++;
            if (!allow_loss)
                violations.add("acknowledged as version " + std::to_string(event.version) + " of " +
                               name_of(event.stream) + ", but not stored: " + describe_key(key));
        } else if (there->second.stream != event.stream || there->second.version != event.version) {
            violations.add("acknowledged as version " + std::to_string(event.version) + " of " + name_of(event.stream) +
                           ", but stored is " + describe(there->second));
        }
    }
    check_whole(ledger, by_key, violations);
}

// What was seen is there (or, with losses allowed, its position is empty); where a reader has been, nothing appeared
// behind its back.
inline void check_seen(const Ledger &ledger, const std::vector<Seen> &stored, bool allow_loss, Lost &lost,
                       Violations &violations) {
    std::unordered_map<int64_t, const Seen *> by_position;
    for (const Seen &event : stored) {
        by_position[event.position] = &event;
        if (event.position <= ledger.complete_to && !ledger.seen.count(event.position))
            violations.add("a reader had come to position " + std::to_string(ledger.complete_to) + " without seeing " +
                           describe(event));
    }
    for (const auto &[position, event] : ledger.seen) {
        auto there = by_position.find(position);
        if (there == by_position.end()) {
            lost.seen++;
            if (!allow_loss)
                violations.add("a reader saw what is gone: " + describe(event));
        } else if (*there->second != event) {
            violations.add("a position was given twice: a reader saw " + describe(event) + ", now there is " +
                           describe(*there->second));
        }
    }
}

// Calls of the run before, repeated by their ids: what is stored answers as then, the others are stored now.
inline int check_retries(Connection &connection, Ledger &ledger, const std::vector<Seen> &stored,
                         Violations &violations) {
    std::unordered_map<uint64_t, int64_t> versions;
    for (const Seen &event : stored)
        versions[event.key] = event.version;
    std::vector<Appended> retried;
    for (const auto &[key, event] : ledger.doubtful)
        if (event.repeatable)
            retried.push_back(event);
    for (const auto &[key, event] : ledger.acknowledged)
        if (event.repeatable && retried.size() < 300)
            retried.push_back(event);
    for (Appended event : retried) {
        Call call{Call::Form::event, {{event.stream, {event.key}, std::nullopt}}, true};
        send_call(connection, call);
        event.version = receive_answer(connection, call)[0].first;
        auto before = versions.find(event.key);
        if (before == versions.end())
            event.transaction = 0; // it is stored only now, alone
        else if (before->second != event.version)
            violations.add("after the crash a retry of " + describe_key(event.key) + " answered version " +
                           std::to_string(event.version) + ", stored is version " + std::to_string(before->second));
        ledger.doubtful.erase(event.key);
        ledger.acknowledged[event.key] = event;
    }
    return static_cast<int>(retried.size());
}

} // namespace torture
