#include "worker/sandbox.hpp"

#include "worker/executor.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "storage/lock.h"
#include "utils/portal.h"
}

namespace chronicle::worker {

Sandbox::Sandbox(Oid owner, const std::string &search_path) {
    if (!connected_as_owner())
        user_.emplace(owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
    settings_.set("search_path", search_path.c_str());
}

void clean_session() {
    pg::call([]() noexcept {
        PortalHashTableDeleteAll(); // cursors WITH HOLD
        ResetTempTableNamespace();
        DropAllPreparedStatements();
        LockReleaseSession(USER_LOCKMETHOD);
        ResetSequenceCaches();
    });
}

} // namespace chronicle::worker
