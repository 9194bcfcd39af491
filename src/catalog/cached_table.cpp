#include "catalog/cached_table.hpp"

#include "catalog/objects.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
}

namespace chronicle::catalog {

namespace {

CachedTable *first = nullptr;
uint64 last_generation = 0;

} // namespace

// Never raises. InvalidOid: everything may have changed.
void forget_cached_tables(Oid relation) {
    for (CachedTable *t = first; t; t = t->next_)
        if (!OidIsValid(relation) || relation == t->oid_)
            t->generation_ = ++last_generation;
}

uint64 CachedTable::generation() {
    const Objects &c = objects();
    if (!listed_) {
        if (!first)
            pg::call([]() noexcept {
                CacheRegisterRelcacheCallback([](Datum, Oid relation) { forget_cached_tables(relation); }, Datum(0));
            });
        next_ = first;
        first = this;
        listed_ = true;
    }
    if (catalog_ != c.generation || !OidIsValid(oid_)) {
        const char *name = name_;
        oid_ = pg::call([&]() noexcept { return get_relname_relid(name, get_namespace_oid("chronicle_data", false)); });
        catalog_ = c.generation;
        generation_ = ++last_generation;
    }
    return generation_;
}

void CachedTable::changed() {
    (void)generation();
    Oid oid = oid_;
    pg::call([&]() noexcept { CacheInvalidateRelcacheByRelid(oid); });
    generation_ = ++last_generation; // an abort sends the same word to ourselves
}

} // namespace chronicle::catalog
