#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.hpp"
#include "core/node_types.hpp"

namespace chronicle::core {

/// One key of a document as it was found.
struct Member {
    const json *value = nullptr; ///< null: missing, or JSON null
    std::string path;

    explicit operator bool() const { return value != nullptr; }
};

/// Reads the known keys of one JSON object and notes every fault with its path. Keys are asked for
/// in snake_case and found in camelCase too; null counts as missing; unknown keys are left alone.
/// What is missing or faulty is returned empty. Lives only while the object and the faults do.
class ObjectReader {
public:
    ObjectReader(const json &object, std::string path, std::vector<Fault> &faults)
        : object_(object), path_(std::move(path)), faults_(faults) {}

    const std::string &path() const { return path_; }
    void fault(std::string path, std::string problem);

    /// The first of these keys that is there.
    Member find(std::initializer_list<std::string_view> keys) const;

    std::optional<std::string> text(const Member &member);
    std::optional<std::string> text(std::string_view key) { return text(find({key})); }
    /// A whole number of low … high.
    std::optional<int> integer(std::string_view key, int low, int high);
    /// A number of low … high.
    std::optional<double> number(std::string_view key, double low, double high);
    std::optional<bool> boolean(std::string_view key);
    /// Milliseconds.
    std::optional<double> duration(std::string_view key);
    /// An array, or null when it is missing or something else.
    Member array(std::string_view key);
    /// An object, or null when it is missing or something else.
    Member object(std::string_view key);
    /// An array of strings.
    std::vector<std::string> texts(std::string_view key);

    /// One of several words.
    template <typename T>
    T choice(std::string_view key, std::initializer_list<std::pair<std::string_view, T>> words, T otherwise) {
        const Member member = find({key});
        if (!member)
            return otherwise;
        std::string known;
        for (const auto &[word, value] : words) {
            if (*member.value == word)
                return value;
            known += (known.empty() ? "" : ", ") + std::string(word);
        }
        fault(member.path, "must be one of " + known);
        return otherwise;
    }

private:
    Member find_spelled(std::string_view key) const;

    const json &object_;
    std::string path_;
    std::vector<Fault> &faults_;
};

} // namespace chronicle::core
