#include "core/object_reader.hpp"

#include "core/duration.hpp"
#include "core/names.hpp"

namespace chronicle::core {

void ObjectReader::fault(std::string path, std::string problem) {
    faults_.push_back({std::move(path), std::move(problem)});
}

Member ObjectReader::find(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) {
        if (const Member member = find_spelled(key))
            return member;
        if (key.find('_') != std::string_view::npos)
            if (const Member member = find_spelled(camel_case(key)))
                return member;
    }
    return {};
}

Member ObjectReader::find_spelled(std::string_view key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null())
        return {};
    return {&*found, path_key(path_, key)};
}

std::optional<std::string> ObjectReader::text(const Member &member) {
    if (!member)
        return std::nullopt;
    if (!member.value->is_string()) {
        fault(member.path, "must be text");
        return std::nullopt;
    }
    return member.value->get<std::string>();
}

std::optional<int> ObjectReader::integer(std::string_view key, int low, int high) {
    const Member member = find({key});
    if (!member)
        return std::nullopt;
    const std::optional<std::int64_t> value = integer_value(*member.value);
    if (!value || *value < low || *value > high) {
        fault(member.path, "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
        return std::nullopt;
    }
    return static_cast<int>(*value);
}

std::optional<double> ObjectReader::number(std::string_view key, double low, double high) {
    const Member member = find({key});
    if (!member)
        return std::nullopt;
    const std::optional<double> value = number_value(*member.value);
    if (!value || *value < low || *value > high) {
        fault(member.path, "must be a number from " + json(low).dump() + " to " + json(high).dump());
        return std::nullopt;
    }
    return value;
}

std::optional<bool> ObjectReader::boolean(std::string_view key) {
    const Member member = find({key});
    if (!member)
        return std::nullopt;
    if (!member.value->is_boolean()) {
        fault(member.path, "must be true or false");
        return std::nullopt;
    }
    return member.value->get<bool>();
}

std::optional<double> ObjectReader::duration(std::string_view key) {
    const Member member = find({key});
    if (!member)
        return std::nullopt;
    const Result<double> value = duration_ms(*member.value);
    if (!value)
        fault(member.path, value.problem);
    return value.value;
}

Member ObjectReader::array(std::string_view key) {
    const Member member = find({key});
    if (!member || member.value->is_array())
        return member;
    fault(member.path, "must be an array");
    return {};
}

Member ObjectReader::object(std::string_view key) {
    const Member member = find({key});
    if (!member || member.value->is_object())
        return member;
    fault(member.path, "must be an object");
    return {};
}

std::vector<std::string> ObjectReader::texts(std::string_view key) {
    std::vector<std::string> result;
    const Member member = array(key);
    if (!member)
        return result;
    for (std::size_t i = 0; i < member.value->size(); i++)
        if (const auto entry = text({&(*member.value)[i], path_index(member.path, i)}))
            result.push_back(*entry);
    return result;
}

} // namespace chronicle::core
