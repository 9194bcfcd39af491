#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include "core/definition.hpp"
#include "core/names.hpp"

namespace chronicle::core {

namespace {

// The keys that React-Flow and its like write for the picture alone.
constexpr std::string_view document_layout[] = {"viewport", "position", "zoom"};

constexpr std::string_view node_layout[] = {"position",       "positionAbsolute", "width",        "height",
                                            "selected",       "dragging",         "zIndex",       "style",
                                            "className",      "measured",         "resizing",     "sourcePosition",
                                            "targetPosition", "dragHandle",       "expandParent", "extent",
                                            "hidden",         "selectable",       "draggable",    "connectable",
                                            "deletable",      "focusable",        "initialWidth", "initialHeight",
                                            "handles"};

constexpr std::string_view edge_layout[] = {
    "type",        "style",       "className",        "selected",     "animated",       "zIndex",
    "hidden",      "selectable",  "deletable",        "focusable",    "sourceHandle",   "targetHandle",
    "markerStart", "markerEnd",   "labelStyle",       "labelBgStyle", "labelBgPadding", "labelBgBorderRadius",
    "labelShowBg", "pathOptions", "interactionWidth", "sourceX",      "sourceY",        "targetX",
    "targetY"};

void erase_keys(json &object, std::span<const std::string_view> keys) {
    if (!object.is_object())
        return;
    for (auto member = object.begin(); member != object.end();) {
        const bool is_layout = std::find(keys.begin(), keys.end(), camel_case(member.key())) != keys.end();
        member = is_layout ? object.erase(member) : std::next(member);
    }
}

void erase_keys_of_each(json &document, const char *list, std::span<const std::string_view> keys) {
    if (const auto found = document.find(list); found != document.end() && found->is_array())
        for (json &entry : *found)
            erase_keys(entry, keys);
}

} // namespace

json content_of(const json &document) {
    if (!document.is_object())
        return document;
    json content = document;
    erase_keys(content, document_layout);
    erase_keys_of_each(content, "nodes", node_layout);
    erase_keys_of_each(content, "edges", edge_layout);
    return content;
}

} // namespace chronicle::core
