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
    explicit QueueScan(const std::string &owner);
    ~QueueScan();
    QueueScan(const QueueScan &) = delete;
    QueueScan &operator=(const QueueScan &) = delete;
    /// The next one, by the newest committed state when the scan began; nothing: that was all.
    std::optional<ReadyNode> next();

private:
    struct Band;
    bool begin_band();
    void leave_band();

    std::string owner_;
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
