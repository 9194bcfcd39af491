// Walking the queue: ready nodes of an owner in the order in which they are to run. The algorithm is told in
// queue_scan.cpp.
#pragma once

#include "pg/datum.hpp"
#include "pg/relation.hpp"
#include "pg/xact.hpp"

namespace chronicle::flow {

struct ReadyNode {
    pg::Uuid execution;
    int node_index;
};

/// Higher priority first; in it what is ready again before what is ready for the first time, each in its order.
/// Needs an EngineScope.
class QueueScan {
public:
    /// What a walk learns holds for every later one. In a transaction that has changed the queue before, it holds when
    /// that has committed: ended() must then follow.
    enum class Learns { at_once, at_commit };
    explicit QueueScan(const std::string &owner, Learns learns = Learns::at_once);
    ~QueueScan();
    QueueScan(const QueueScan &) = delete;
    QueueScan &operator=(const QueueScan &) = delete;
    /// The next one, by the newest committed state when the scan began; nothing: that was all.
    std::optional<ReadyNode> next();
    /// The transaction of a walk that learns at commit is over.
    static void ended(bool committed);

private:
    struct Band;
    bool begin_band();
    void leave_band();

    std::string owner_;
    Learns learns_;
    pg::LatestSnapshotScope snapshot_;
    int64 mark_;
    std::optional<pg::IndexReader> reader_;
    std::vector<Band> bands_;
    size_t band_ = 0;
    bool open_ = false; // the reader stands in the band
    int exceptions_;
};

/// Owners that have ready nodes, and how many (counted up to a limit). Needs an EngineScope.
std::vector<std::pair<std::string, int64>> count_ready(int64 limit);

} // namespace chronicle::flow
