// SET CONSTRAINTS lasts until the end of the transaction, and PostgreSQL has no way back to what each constraint is by
// itself. So it is done only for nodes that have left something to check, or have set constraints themselves; then the
// batch ends with that node, and the next one begins in a transaction that is as it would be without batches.
//
// What is left to check is asked for by relation: those that have a deferrable constraint at all are kept in memory,
// until a constraint changes.
#include "worker/constraints.hpp"

#include "pg/spi.hpp"
#include "worker/ddl.hpp"

extern "C" {
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace chronicle::worker {

namespace {

bool known = false; // relations is as the catalog is

const std::vector<Oid> &deferring_relations() {
    static pg::Statement find{"SELECT DISTINCT tgrelid FROM pg_catalog.pg_trigger WHERE tgdeferrable"};
    static std::vector<Oid> *relations = nullptr;
    if (!relations) {
        relations = new std::vector<Oid>();
        pg::call([]() noexcept {
            CacheRegisterSyscacheCallback(
                CONSTROID, [](Datum, int, uint32) { known = false; }, Datum(0));
        });
    }
    if (!std::exchange(known, true)) {
        pg::Spi spi;
        relations->clear();
        pg::Rows rows = find.run();
        bool is_null;
        for (uint64 i = 0; i < rows.count; i++)
            relations->push_back(DatumGetObjectId(rows[i].datum(1, &is_null)));
    }
    return *relations;
}

bool left_something() {
    const std::vector<Oid> &relations = deferring_relations();
    return std::any_of(relations.begin(), relations.end(), [](Oid relation) {
        return pg::call([&]() noexcept { return AfterTriggerPendingOnRel(relation); });
    });
}

} // namespace

void check_deferred_constraints() {
    pg::call([]() noexcept {
        ConstraintsSetStmt *all_immediate = makeNode(ConstraintsSetStmt);
        all_immediate->constraints = NIL;
        all_immediate->deferred = false;
        AfterTriggerSetState(all_immediate);
    });
}

ConstraintWatch::ConstraintWatch() : set_before_(set_constraints_count()) {}

bool ConstraintWatch::check() {
    if (set_constraints_count() == set_before_ && !left_something())
        return false;
    check_deferred_constraints();
    return true;
}

} // namespace chronicle::worker
