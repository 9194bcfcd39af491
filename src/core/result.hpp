#pragma once

#include <optional>
#include <string>
#include <utility>

namespace chronicle::core {

/// A value, or a sentence that says why there is none. Used wherever the input comes from a user;
/// exceptions are kept for programming errors.
template <typename T> struct Result {
    std::optional<T> value;
    std::string problem; ///< empty exactly when there is a value

    explicit operator bool() const { return value.has_value(); }
    /// The value; throws std::bad_optional_access when there is none.
    const T &operator*() const { return value.value(); }
    const T *operator->() const { return &value.value(); }
};

template <typename T> Result<T> ok(T value) { return {std::move(value), {}}; }

template <typename T> Result<T> problem(std::string text) { return {std::nullopt, std::move(text)}; }

} // namespace chronicle::core
