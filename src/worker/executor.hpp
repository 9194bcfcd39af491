// What the node that runs sees of its executor.
#pragma once

#include "pg/datum.hpp"

namespace chronicle::worker {

/// This process is an executor.
bool is_executor();

/// True when this executor is a connection of the owner itself; false: the owner cannot log in, and nodes run as that
/// role in a security-restricted operation of a session that is not it (PostgreSQL 15 and 16).
bool connected_as_owner();

/// Nodes of this role may run in this process. False: there is no such role, or this is the connection of one that had
/// the owner's name when it began, and was renamed or dropped since.
bool serves(Oid role);

/// The last executor in the place of this one ended in a job, by itself; or a crash ended all.
bool follows_a_loss();

/// This executor ends before its next step, and what it has claimed is taken back as if it had never begun to run.
void give_up();

/// Says in shared memory and in pg_stat_activity what runs; the scope of one job that can be cancelled.
class Job {
public:
    Job(const pg::Uuid &execution, const std::string &node);
    /// Of work that is no node: a projection's id and name, say. An end of the process inside is told to the source
    /// (take_lost_subjects).
    Job(int64 subject, const std::string &name);
    ~Job();
    /// The job goes on with a node of another run.
    static void turn_to(const pg::Uuid &execution, const std::string &node);
    Job(const Job &) = delete;
    Job &operator=(const Job &) = delete;
    /// Somebody asked for this job to be interrupted (its run is over, or being cancelled).
    static bool cancel_requested();
    /// This process runs a node of that run now.
    static bool is_running(const pg::Uuid &execution);

private:
    Job(const pg::Uuid &execution, int64 subject, const std::string &name);
};

/// Nodes that this executor is about to run, or has run and not committed: others keep off them meanwhile. A hint in
/// shared memory, so that no two do the same work; what counts is what the tables say at the commit. (Known there by 64
/// bits: two nodes of which one is taken for the other do not run at the same time.)
/// False: an executor of this database has it, or there is no room.
bool reserve_node(const pg::Uuid &execution, int node);
/// Those that are reserved in this database now: who walks over many asks it first, without a lock for each.
class ReservedNodes {
public:
    ReservedNodes();
    bool contains(const pg::Uuid &execution, int node) const;

private:
    std::vector<uint64> keys_; // sorted
};
/// The one that was reserved last; all but that; all.
void release_last_node();
void release_other_nodes();
void release_nodes();

/// Around the code of one node: interrupts it after `ms` (57014; 0: never), or when its job is cancelled. It is asked
/// again every second, and after three times that it was swallowed the process ends (57P01). `again_ms`: asked again
/// only so often.
class Deadline {
public:
    explicit Deadline(int ms, int again_ms = 1000);
    ~Deadline();
    Deadline(const Deadline &) = delete;
    Deadline &operator=(const Deadline &) = delete;
    /// The time was up.
    static bool passed();
};

} // namespace chronicle::worker
