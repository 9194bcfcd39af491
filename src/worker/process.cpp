#include "worker/process.hpp"

extern "C" {
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include <signal.h>
}

namespace chronicle::worker {

namespace {

volatile sig_atomic_t server_stops = 0;

// The postmaster ends its workers when the server stops; whoever else sends SIGTERM means this process.
void on_terminate(int signal, siginfo_t *sender, void *) {
    if (sender->si_pid == PostmasterPid)
        server_stops = 1;
    die(signal);
}

// PostgreSQL's lock_timeout comes as SIGINT; nobody else interrupts these processes.
void on_lock_timeout(int) {
    int saved_errno = errno;
    if (get_timeout_indicator(LOCK_TIMEOUT, false)) {
        QueryCancelPending = true;
        InterruptPending = true;
    }
    SetLatch(MyLatch);
    errno = saved_errno;
}

} // namespace

bool ended_by_shutdown() { return server_stops != 0; }

void set_signal_handlers(void (*on_interrupt)(int)) {
    struct sigaction terminate {};
    sigemptyset(&terminate.sa_mask);
    terminate.sa_flags = SA_SIGINFO | SA_RESTART;
    terminate.sa_sigaction = on_terminate;
    sigaction(SIGTERM, &terminate, nullptr);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGINT, on_interrupt ? on_interrupt : on_lock_timeout);
    BackgroundWorkerUnblockSignals();
}

bool reload_if_asked() {
    if (!ConfigReloadPending)
        return false;
    ConfigReloadPending = false;
    pg::call([]() noexcept { ProcessConfigFile(PGC_SIGHUP); });
    return true;
}

void disarm_timeouts() {
    static constexpr const char *names[] = {"statement_timeout", "lock_timeout", "transaction_timeout"};
    pg::call([]() noexcept {
        for (const char *name : names)
            if (GetConfigOption(name, true, false)) // transaction_timeout: since PostgreSQL 17
                SetConfigOption(name, "0", PGC_USERSET, PGC_S_SESSION);
    });
}

BackgroundWorker describe_worker(const char *name, const char *function) {
    BackgroundWorker worker{};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    strlcpy(worker.bgw_library_name, "chronicle", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
    strlcpy(worker.bgw_type, name, sizeof(worker.bgw_type));
    return worker;
}

BackgroundWorkerHandle *start_worker(BackgroundWorker &worker) {
    static bool reported = false;
    worker.bgw_notify_pid = MyProcPid;
    BackgroundWorkerHandle *handle = nullptr;
    bool started = pg::call([&]() noexcept {
        MemoryContext saved = MemoryContextSwitchTo(TopMemoryContext);
        bool registered = RegisterDynamicBackgroundWorker(&worker, &handle);
        MemoryContextSwitchTo(saved);
        return registered;
    });
    if (started) {
        reported = false;
        return handle;
    }
    if (!reported) {
        reported = true;
        pg::call([]() noexcept {
            ereport(WARNING, (errmsg("chronicle: no background worker slot is free; work waits"),
                              errhint("Raise max_worker_processes.")));
        });
    }
    return nullptr;
}

void register_launcher() {
    BackgroundWorker worker = describe_worker("chronicle launcher", "chronicle_launcher_main");
    worker.bgw_restart_time = 5;
    RegisterBackgroundWorker(&worker);
}

} // namespace chronicle::worker
