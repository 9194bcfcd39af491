// A node of a batch as its function sees it, and jsonpath over JSON values.
#pragma once

#include "flow/batch.hpp"

namespace chronicle::flow {

class BatchNode : public NodeContext {
public:
    /// Resolves the references of the config; 22023 when a value does not fit its field.
    BatchNode(Batch &batch, int index);
    const core::Node &node() const override;
    core::json config(std::string_view field) const override;
    const pg::Uuid &execution() const override;
    core::json input() const override;
    std::string context() override;
    const Rows *find(const std::string &name) override;

private:
    const Rows *find_input();
    Batch &batch_;
    int index_;
    core::json config_;
    std::optional<Rows> union_;
};

/// The first match of a jsonpath in a jsonb document (lax, silent); null when there is none.
core::json first_match(Datum document, const std::string &path);
/// The same as JSON text, which holds also what the core cannot read.
std::string first_match_text(Datum document, const std::string &path);
/// A jsonpath predicate over a jsonb document: true, and nothing else, is true.
bool predicate_holds(Datum document, const std::string &path);

} // namespace chronicle::flow
