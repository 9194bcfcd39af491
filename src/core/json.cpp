#include "core/json.hpp"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/excerpt.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

// Marks a binary value as the text of a number.
constexpr json::binary_t::subtype_type exact_number_subtype = 'n';

// Below 2^53 a double is whole only when the decimal was; from there on it may have been rounded.
constexpr double first_inexact_integer = 9007199254740992.0;

std::string dump(const json &value, int indent = -1) {
    return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

constexpr std::size_t max_problem = 80; // bytes of what is wrong

// Builds a value from nlohmann's parse events, which carry a number's text; its own builder drops
// that text and does not limit depth.
class Builder {
public:
    explicit Builder(std::size_t max_depth) : max_depth_(max_depth) {}

    // The SAX interface of nlohmann::json.
    bool null() { return place(nullptr); }
    bool boolean(bool value) { return place(value); }
    bool number_integer(json::number_integer_t value) { return place(value); }
    bool number_unsigned(json::number_unsigned_t value) { return place(value); }
    bool number_float(json::number_float_t value, const std::string &text) {
        json number = value;
        return place(dump(number) == text ? std::move(number) : exact_number(text));
    }
    bool string(std::string &value) { return place(std::move(value)); }
    bool binary(json::binary_t &) { return false; }
    bool start_object(std::size_t) { return open(json::object()); }
    bool key(std::string &value) {
        key_ = std::move(value);
        return true;
    }
    bool end_object() { return close(); }
    bool start_array(std::size_t) { return open(json::array()); }
    bool end_array() { return close(); }
    bool parse_error(std::size_t, const std::string &, const json::exception &error) {
        problem_ = error.what();
        if (const std::size_t end = problem_.find("] "); end != std::string::npos)
            problem_.erase(0, end + 2); // the library's own error number
        if (problem_.size() > max_problem) // it quotes numbers of any length
            problem_ = std::string(beginning(problem_, max_problem)) + "…'";
        return false;
    }

    json take() { return std::move(root_); }
    const std::string &problem() const { return problem_; }

private:
    json *add(json &&value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        json &parent = *open_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return &parent.back();
        }
        json &slot = parent[key_];
        slot = std::move(value);
        return &slot;
    }

    bool place(json &&value) {
        add(std::move(value));
        return true;
    }

    bool open(json &&container) {
        if (open_.size() >= max_depth_) {
            problem_ = "nested deeper than " + std::to_string(max_depth_) + " levels";
            return false;
        }
        open_.push_back(add(std::move(container)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    std::size_t max_depth_;
    json root_;
    std::vector<json *> open_; // a parent does not grow while its child is open: pointers stay
    std::string key_;
    std::string problem_;
};

bool holds_exact_number(const json &value) {
    if (!value.is_structured())
        return is_exact_number(value);
    for (const json &element : value)
        if (holds_exact_number(element))
            return true;
    return false;
}

// Writes as nlohmann's dump() does, exact numbers included.
class Writer {
public:
    explicit Writer(int indent) : indent_(indent) {}

    void write(const json &value) {
        if (is_exact_number(value))
            text_ += number_text(value);
        else if (value.is_structured() && !value.empty())
            write_members(value);
        else
            text_ += dump(value);
    }

    std::string take() { return std::move(text_); }

private:
    void write_members(const json &value) {
        text_ += value.is_object() ? '{' : '[';
        depth_++;
        bool first = true;
        for (const auto &[key, element] : value.items()) {
            if (!std::exchange(first, false))
                text_ += ',';
            new_line();
            if (value.is_object())
                text_ += dump(key) + (indent_ < 0 ? ":" : ": ");
            write(element);
        }
        depth_--;
        new_line();
        text_ += value.is_object() ? '}' : ']';
    }

    void new_line() {
        if (indent_ >= 0)
            text_.append(1, '\n').append(static_cast<std::size_t>(indent_ * depth_), ' ');
    }

    int indent_;
    int depth_ = 0;
    std::string text_;
};

template <typename Number> std::optional<Number> read_number(std::string_view text) {
    text = trim(text);
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

std::optional<double> read_finite(std::string_view text) {
    const std::optional<double> value = read_number<double>(text);
    return value && std::isfinite(*value) ? value : std::nullopt;
}

bool is_plain_key(std::string_view key) {
    const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; };
    if (key.empty() || !letter(key.front()))
        return false;
    for (const char c : key)
        if (!letter(c) && !(c >= '0' && c <= '9'))
            return false;
    return true;
}

} // namespace

Result<json> parse_json(std::string_view text, std::size_t max_depth) {
    Builder builder(max_depth);
    if (!json::sax_parse(text.begin(), text.end(), &builder))
        return problem<json>(builder.problem());
    return ok(builder.take());
}

std::string write_json(const json &value, int indent) {
    if (!holds_exact_number(value))
        return dump(value, indent);
    Writer writer(indent);
    writer.write(value);
    return writer.take();
}

std::size_t json_depth(const json &value, std::size_t limit) {
    std::size_t deepest = 0;
    std::vector<std::pair<const json *, std::size_t>> open;
    if (value.is_structured())
        open.emplace_back(&value, 1);
    while (!open.empty()) {
        const auto [container, depth] = open.back();
        open.pop_back();
        deepest = std::max(deepest, depth);
        if (deepest > limit)
            return limit + 1;
        for (const json &element : *container)
            if (element.is_structured())
                open.emplace_back(&element, depth + 1);
    }
    return deepest;
}

bool is_number(const json &value) { return value.is_number() || is_exact_number(value); }

bool is_exact_number(const json &value) {
    return value.is_binary() && value.get_binary().has_subtype() &&
           value.get_binary().subtype() == exact_number_subtype;
}

json exact_number(std::string_view text) {
    return json::binary(json::binary_t::container_type(text.begin(), text.end()), exact_number_subtype);
}

std::string number_text(const json &value) {
    if (is_exact_number(value))
        return {value.get_binary().begin(), value.get_binary().end()};
    return value.is_number() ? dump(value) : std::string();
}

std::optional<double> number_value(const json &value) {
    if (value.is_number())
        return value.get<double>();
    if (is_exact_number(value))
        return read_finite(number_text(value));
    if (value.is_string())
        return read_finite(value.get_ref<const std::string &>());
    return std::nullopt;
}

std::optional<std::int64_t> integer_value(const json &value) {
    if (value.is_number_unsigned()) {
        const auto number = value.get<std::uint64_t>();
        if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return std::nullopt;
        return static_cast<std::int64_t>(number);
    }
    if (value.is_number_integer())
        return value.get<std::int64_t>();
    if (value.is_string())
        if (const auto whole = read_number<std::int64_t>(value.get_ref<const std::string &>()))
            return whole;
    const std::optional<double> number = number_value(value);
    if (!number || std::trunc(*number) != *number || std::abs(*number) >= first_inexact_integer)
        return std::nullopt;
    return static_cast<std::int64_t>(*number);
}

bool is_reference(const json &value) {
    if (!value.is_object() || value.size() != 1)
        return false;
    const auto only = value.begin();
    return (only.key() == "$" || only.key() == "$secret") && only->is_string();
}

std::string path_key(std::string_view path, std::string_view key) {
    std::string result(path);
    result += '.';
    result += is_plain_key(key) ? std::string(key) : dump(json(std::string(key)));
    return result;
}

std::string path_index(std::string_view path, std::size_t index) {
    return std::string(path) + "[" + std::to_string(index) + "]";
}

} // namespace chronicle::core
