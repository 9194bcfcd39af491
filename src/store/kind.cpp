#include "store/kind.hpp"

#include "catalog/objects.hpp"
#include "pg/datum.hpp"
#include "pg/relation.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/pg_collation_d.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"
}

namespace chronicle::store {

namespace {

// Numbers whose row is committed (for new events), and what numbers mean (for readers: rows never change, and numbers
// are never given twice, so what was seen once holds).
constexpr size_t cache_limit = 10000;
struct Cache {
    uint64 generation = 0;
    std::unordered_map<std::string, int32> numbers;
    std::unordered_map<int32, Kind> kinds;
};
Cache *cache = nullptr;

Cache &current_cache() {
    uint64 generation = catalog::objects().generation;
    if (!cache)
        cache = new Cache();
    if (cache->generation != generation || cache->numbers.size() >= cache_limit || cache->kinds.size() >= cache_limit)
        *cache = Cache{generation, {}, {}};
    return *cache;
}

std::string key_of(std::string_view category, std::string_view type) {
    std::string key(category);
    key += '\0';
    return key.append(type);
}

} // namespace

int32 find_or_make_kind(std::string_view category, std::string_view type) {
    Cache &known = current_cache();
    std::string key = key_of(category, type);
    if (auto found = known.numbers.find(key); found != known.numbers.end())
        return found->second;
    const catalog::Objects &c = catalog::objects();
    pg::IndexReader reader(c.event_kind, c.event_kind_name, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(category), C_COLLATION_OID);
    reader.key(2, BTEqualStrategyNumber, F_TEXTEQ, pg::make_text(type), C_COLLATION_OID);
    bool is_null;
    if (reader.next()) {
        int32 number = DatumGetInt32(reader.column(1, &is_null));
        TransactionId writer = DatumGetTransactionId(reader.column(MinTransactionIdAttributeNumber, &is_null));
        if (!TransactionIdIsCurrentTransactionId(writer)) // our own may still be undone
            known.numbers.emplace(std::move(key), number);
        return number;
    }
    int64 number = pg::call([&]() noexcept { return nextval_internal(c.kind_id_seq, false); });
    Datum values[] = {Int32GetDatum(static_cast<int32>(number)), pg::make_text(category), pg::make_text(type)};
    const bool nulls[] = {false, false, false};
    pg::TableWriter(c.event_kind).insert(values, nulls);
    return static_cast<int32>(number);
}

const Kind &kind_of(int32 kind_id) {
    Cache &known = current_cache();
    if (auto found = known.kinds.find(kind_id); found != known.kinds.end())
        return found->second;
    const catalog::Objects &c = catalog::objects();
    // An event that is visible to a snapshot has a kind that is, too: it was inserted before.
    pg::IndexReader reader(c.event_kind, c.event_kind_pkey, SnapshotSelf);
    reader.key(1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(kind_id));
    if (!reader.next())
        pg::raise(ERRCODE_DATA_CORRUPTED,
                  {.message = "an event refers to kind " + std::to_string(kind_id) + ", which does not exist"});
    bool is_null;
    Kind kind{pg::to_string(reader.column(2, &is_null)), pg::to_string(reader.column(3, &is_null))};
    return known.kinds.emplace(kind_id, std::move(kind)).first->second;
}

} // namespace chronicle::store
