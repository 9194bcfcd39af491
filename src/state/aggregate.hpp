// Aggregates: categories whose streams fold into a state, and by which function.
#pragma once

#include "pg/datum.hpp"
#include "pg/user_function.hpp"

namespace chronicle::state {

pg::Signature apply_signature(); // apply(state jsonb, event chronicle.event) returns jsonb
pg::Signature decide_signature(); // decide(state jsonb, command text, payload jsonb) returns jsonb

struct Aggregate {
    std::string category;
    std::string apply; // stored form of the function's name
    std::optional<std::string> decide;
    std::string owner, search_path; // as whom, and with what search_path, the functions run
    std::vector<char> initial; // jsonb
    int64 definition; // hash of what decides over states, but for the function's text: see fingerprint()
    std::optional<int32> snapshot_every, keep_snapshots;
    bool idle_snapshots;

    Datum initial_state() const { return PointerGetDatum(initial.data()); }
    /// Events between two snapshots, and how many snapshots are kept, by the aggregate or the settings.
    int32 every() const;
    int32 keep() const;
    /// The owner's OID; 42704 when the role is gone.
    Oid owner_oid() const;
};

/// The aggregate of a category, from this process's copy of the table. Never changed: a replaced one is a new object.
std::shared_ptr<const Aggregate> find_aggregate(std::string_view category);
/// The one that the stream belongs to; 42704 when its category has none.
std::shared_ptr<const Aggregate> aggregate_of(const std::string &stream);

/// Aggregates can be given away; in _PG_init.
void init_owned();

/// 42501 unless the current user may act for the owner.
void require_owner(const Aggregate &aggregate);
/// All that the current user may act for.
std::vector<std::shared_ptr<const Aggregate>> aggregates_of_caller();

/// A hash of everything that decides over the states of an aggregate, its apply function's text included: a snapshot
/// holds for whoever has the same one. It survives dump, restore and upgrade.
int64 fingerprint(const Aggregate &aggregate, Oid apply);

} // namespace chronicle::state
