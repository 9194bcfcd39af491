// The torture program: calls of the append functions, and their answers.
#pragma once

#include "torture_support.hpp"

namespace torture {

struct Batch {
    int stream = 0;
    std::vector<uint64_t> keys;
    std::optional<int64_t> expected;
};

struct Call {
    enum class Form { event, events, arrays, streams } form = Form::event;
    std::vector<Batch> batches; // one, but for streams
    bool with_ids = false;
    bool repeatable() const { return with_ids && batches.size() == 1 && batches[0].keys.size() == 1; }
};

// Versions of a batch's first and last event.
struct Range {
    int64_t first = 0, last = 0;
    bool operator==(const Range &) const = default;
};
inline std::string describe(const Range &r) { return std::to_string(r.first) + " to " + std::to_string(r.last); }

inline Text expected_text(const Batch &batch) {
    return batch.expected ? Text(std::to_string(*batch.expected)) : std::nullopt;
}

inline std::string json_events(const Batch &batch, bool with_ids) {
    std::string json = "[";
    for (uint64_t key : batch.keys) {
        json += json.size() > 1 ? ", " : "";
        json += "{\"type\": \"" + type_of(key) + "\", \"data\": " + data_of(key);
        json += with_ids ? ", \"event_id\": \"" + id_of(key) + "\"}" : "}";
    }
    return json + "]";
}

// An array in PostgreSQL's text form.
inline std::string array_of(const std::vector<uint64_t> &keys, std::string (*element)(uint64_t)) {
    std::string text = "{";
    for (uint64_t key : keys) {
        text += text.size() > 1 ? ",\"" : "\"";
        for (char c : element(key))
            text += (c == '"' || c == '\\') ? std::string{'\\', c} : std::string{c};
        text += '"';
    }
    return text + "}";
}

inline void send_call(Connection &connection, const Call &call) {
    const Batch &one = call.batches[0];
    switch (call.form) {
    case Call::Form::event:
        connection.send("SELECT append_event($1, $2, $3::jsonb, expected_version => $4::bigint, event_id => $5::uuid)",
                        {name_of(one.stream), type_of(one.keys[0]), data_of(one.keys[0]), expected_text(one),
                         call.with_ids ? Text(id_of(one.keys[0])) : std::nullopt});
        break;
    case Call::Form::events:
        connection.send("SELECT append_events($1, $2::jsonb, $3::bigint)",
                        {name_of(one.stream), json_events(one, call.with_ids), expected_text(one)});
        break;
    case Call::Form::arrays:
        connection.send("SELECT append_event_arrays($1, $2::text[], $3::jsonb[], $4::bigint, NULL, $5::uuid[])",
                        {name_of(one.stream), array_of(one.keys, type_of), array_of(one.keys, data_of),
                         expected_text(one), call.with_ids ? Text(array_of(one.keys, id_of)) : std::nullopt});
        break;
    case Call::Form::streams:
        std::string json = "[";
        for (const Batch &batch : call.batches) {
            json += json.size() > 1 ? ", " : "";
            json += "{\"stream\": \"" + name_of(batch.stream) + "\", \"events\": " + json_events(batch, call.with_ids);
            json += batch.expected ? ", \"expected_version\": " + *expected_text(batch) + "}" : "}";
        }
        connection.send("SELECT first_version, last_version, stream FROM append_streams($1::jsonb)", {json + "]"});
        break;
    }
}

// Throws std::runtime_error when the answer cannot be true.
inline std::vector<Range> receive_answer(Connection &connection, const Call &call) {
    Rows rows = connection.receive();
    if (rows.count() != static_cast<int>(call.batches.size()))
        throw std::runtime_error("an append of " + std::to_string(call.batches.size()) + " streams answered " +
                                 std::to_string(rows.count()) + " rows");
    std::vector<Range> answer;
    for (int i = 0; i < rows.count(); i++) {
        const Batch &batch = call.batches[static_cast<size_t>(i)];
        int64_t size = static_cast<int64_t>(batch.keys.size());
        Range range;
        if (call.form == Call::Form::streams) {
            range = {rows.number(i, 0), rows.number(i, 1)};
            if (rows.text(i, 2) != name_of(batch.stream))
                throw std::runtime_error(std::string("append_streams answered for ") + rows.text(i, 2) +
                                         " where the request has " + name_of(batch.stream));
        } else {
            range = {rows.number(i, 0) - size + 1, rows.number(i, 0)};
        }
        if (range.first < 1 || range.last - range.first + 1 != size)
            throw std::runtime_error("an append of " + std::to_string(size) + " events to " + name_of(batch.stream) +
                                     " answered the versions " + describe(range));
        answer.push_back(range);
    }
    return answer;
}

} // namespace torture
