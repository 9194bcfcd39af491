// The one file that knows valijson (1.0 to 1.1, header only). It gets the form that schema_form.cpp makes, so that what
// would be dangerous in a server is ours: nothing is fetched, every step into a subschema calls the guard, and
//
//   regular expressions   are core::Pattern (PCRE2). valijson says std::regex, which recurses once per character and
//   may
//                         take for ever, and only its newest version lets one choose; so the name means our class
//                         while its headers are read, in all versions.
//   uniqueItems           compares each with each there; here it sorts.
//   multipleOf            is done in binary fractions there, so that 19.99 is no multiple of 0.01.
//   format                "date", "time" and "date-time" are checked; the others are annotations, as draft 7 allows.
#include "core/schema.hpp"

#include <cmath>
#include <regex>
#include <set>

namespace chronicle::core {
namespace {

// What the library's callbacks work with while a compile or check runs; they get no argument of ours.
struct Running {
    Guard guard;
    const std::map<std::string, Pattern> *patterns;
};
const Running *running = nullptr;

class RunningScope {
public:
    explicit RunningScope(const Running &now) : saved_(running) { running = &now; }
    ~RunningScope() { running = saved_; }
    RunningScope(const RunningScope &) = delete;
    RunningScope &operator=(const RunningScope &) = delete;

private:
    const Running *saved_;
};

} // namespace
} // namespace chronicle::core

// In place of std::regex and what goes with it. In namespace std, because that is where the library looks.
namespace std {
struct chronicle_regex {
    explicit chronicle_regex(const string &text) : pattern(&chronicle::core::running->patterns->at(text)) {}
    const chronicle::core::Pattern *pattern; // of the schema that is checked, and compiled with it
};
inline bool chronicle_regex_search(const string &text, const chronicle_regex &regex) {
    return regex.pattern->found_in(text, chronicle::core::running->guard);
}
// For the library's own "format", which our form never uses.
struct chronicle_smatch {
    chronicle_smatch &operator[](int) { return *this; }
    string str() const { return {}; }
};
inline bool chronicle_regex_match(const string &, const chronicle_regex &) { return false; }
inline bool chronicle_regex_match(const string &, chronicle_smatch &, const chronicle_regex &) { return false; }
} // namespace std

#define VALIJSON_USE_EXCEPTIONS 1 // otherwise it ends the process
#define regex chronicle_regex
#define regex_search chronicle_regex_search
#define regex_match chronicle_regex_match
#define smatch chronicle_smatch
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>
#undef regex
#undef regex_search
#undef regex_match
#undef smatch

namespace chronicle::core {

namespace {

using valijson::ValidationResults;
using valijson::adapters::Adapter;
using valijson::constraints::Constraint;
using valijson::constraints::PolyConstraint;

constexpr std::size_t enough_errors = 20;
struct EnoughErrors {}; // the first one is all that is told

void call_guard() {
    if (running->guard)
        running->guard();
}

// The path's type is another one in version 1.1.
template <typename Path>
Path path_type(bool (PolyConstraint::*)(const Adapter &, const Path &, ValidationResults *) const);
using Path = decltype(path_type(&PolyConstraint::validate));

// --- keywords of ours ---

template <typename Self> class OwnConstraint : public PolyConstraint {
private:
    Constraint *cloneInto(void *memory) const override { return new (memory) Self(static_cast<const Self &>(*this)); }
    std::size_t sizeOf() const override { return sizeof(Self); }
};

struct GuardConstraint : OwnConstraint<GuardConstraint> {
    bool validate(const Adapter &, const Path &, ValidationResults *results) const override {
        call_guard();
        if (results && results->numErrors() >= enough_errors)
            throw EnoughErrors();
        return true;
    }
};

bool refuse(const Path &path, ValidationResults *results, const std::string &reason) {
    if (results)
        results->pushError(path, reason);
    return false;
}

// One text per value, equal for equal values.
void write_canonical(const Adapter &value, std::string &out) {
    call_guard();
    if (value.isObject()) {
        out += '{';
        value.applyToObject([&](const std::string &key, const Adapter &member) { // sorted by key
            out += std::to_string(key.size()) + ':' + key;
            write_canonical(member, out);
            return true;
        });
        out += '}';
    } else if (value.isArray()) {
        out += '[';
        value.applyToArray([&](const Adapter &element) {
            write_canonical(element, out);
            return true;
        });
        out += ']';
    } else if (value.isString()) {
        std::string text = value.asString();
        out += '"' + std::to_string(text.size()) + ':' + text;
    } else if (value.isInteger()) {
        out += 'i' + std::to_string(value.asInteger()) + ';';
    } else if (value.isNumber()) {
        double number = value.asDouble();
        out += 'd';
        out.append(reinterpret_cast<const char *>(&number), sizeof(number));
    } else {
        out += value.isNull() ? 'n' : value.asBool() ? 't' : 'f';
    }
}

struct UniqueConstraint : OwnConstraint<UniqueConstraint> {
    bool validate(const Adapter &value, const Path &path, ValidationResults *results) const override {
        if (!value.isArray())
            return true;
        std::set<std::string> seen;
        bool unique = value.applyToArray([&](const Adapter &element) {
            std::string canonical;
            write_canonical(element, canonical);
            return seen.insert(std::move(canonical)).second;
        });
        return unique || refuse(path, results, "Elements of the array must be unique.");
    }
};

struct MultipleConstraint : OwnConstraint<MultipleConstraint> {
    explicit MultipleConstraint(const Adapter &keyword)
        : divisor(keyword.asDouble()), whole(keyword.isInteger() ? keyword.asInteger() : 0) {}
    bool validate(const Adapter &value, const Path &path, ValidationResults *results) const override {
        if (!value.isNumber() || holds(value))
            return true;
        return refuse(path, results, "Number must be a multiple of " + json(divisor).dump() + ".");
    }
    bool holds(const Adapter &value) const {
        if (whole != 0 && value.isInteger())
            return value.asInteger() % whole == 0;
        // As decimals: what is off by the rounding of the two is meant to be whole.
        double quotient = value.asDouble() / divisor;
        return std::fabs(quotient - std::round(quotient)) <= 1e-12 * std::max(1.0, std::fabs(quotient));
    }
    double divisor;
    int64_t whole; // 0: the divisor has a fraction
};

// RFC 3339, without a library's regular expressions.
class DateText {
public:
    explicit DateText(const std::string &text) : text_(text) {}
    bool date() {
        int year = digits(4), month = skip('-') ? digits(2) : -1, day = skip('-') ? digits(2) : -1;
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        return year >= 0 && month >= 1 && month <= 12 && day >= 1 &&
               day <= days[month - 1] + (month == 2 && leap ? 1 : 0);
    }
    bool time() {
        int hour = digits(2), minute = skip(':') ? digits(2) : -1, second = skip(':') ? digits(2) : -1;
        if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
            return false;
        if (skip('.') && digits(1) < 0)
            return false;
        while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])))
            at_++;
        if (skip('Z') || skip('z'))
            return true;
        if (!skip('+') && !skip('-'))
            return false;
        int hours = digits(2), minutes = skip(':') ? digits(2) : -1;
        return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59;
    }
    bool skip(char c) { return at_ < text_.size() && text_[at_] == c && ++at_; }
    bool at_end() const { return at_ == text_.size(); }

private:
    int digits(int count) {
        int value = 0;
        for (int i = 0; i < count; i++, at_++) {
            if (at_ >= text_.size() || !std::isdigit(static_cast<unsigned char>(text_[at_])))
                return -1;
            value = value * 10 + (text_[at_] - '0');
        }
        return value;
    }
    const std::string &text_;
    std::size_t at_ = 0;
};

struct FormatConstraint : OwnConstraint<FormatConstraint> {
    explicit FormatConstraint(const Adapter &keyword) : format(keyword.asString()) {}
    bool validate(const Adapter &value, const Path &path, ValidationResults *results) const override {
        if (!value.isString() || holds(value.asString()))
            return true;
        return refuse(path, results, "String must be a valid " + format + ".");
    }
    bool holds(const std::string &value) const {
        DateText text(value);
        if (format == "date")
            return text.date() && text.at_end();
        if (format == "time")
            return text.time() && text.at_end();
        if (format == "date-time")
            return text.date() && (text.skip('T') || text.skip('t')) && text.time() && text.at_end();
        return true;
    }
    std::string format;
};

// --- the library ---

template <typename Made> struct Builder : valijson::ConstraintBuilder {
    Constraint *make(const Adapter &keyword) const override {
        call_guard(); // parsing recurses as well
        if constexpr (std::is_constructible_v<Made, const Adapter &> && !std::is_default_constructible_v<Made>)
            return new Made(keyword);
        else
            return new Made();
    }
};

void parse(const json &document, valijson::Schema &schema) {
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.addConstraintBuilder(guard_keyword, new Builder<GuardConstraint>());
    parser.addConstraintBuilder(unique_keyword, new Builder<UniqueConstraint>());
    parser.addConstraintBuilder(multiple_keyword, new Builder<MultipleConstraint>());
    parser.addConstraintBuilder(format_keyword, new Builder<FormatConstraint>());
    parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(document), schema);
}

// The steps of the library's "context" (<root>, [name] or ["name"], [0]) as a path into the value.
std::string path_of(const std::vector<std::string> &context, const json &value) {
    std::string path = "$";
    const json *at = &value;
    for (std::string step : context) {
        if (step.size() < 2 || step.front() != '[' || step.back() != ']')
            continue;
        step = step.substr(1, step.size() - 2);
        if (at && at->is_array() && step.find_first_not_of("0123456789") == std::string::npos && step.size() < 10 &&
            !step.empty()) {
            std::size_t index = std::stoul(step);
            path = path_index(path, index);
            at = index < at->size() ? &(*at)[index] : nullptr;
            continue;
        }
        bool quoted = step.size() >= 2 && step.front() == '"' && step.back() == '"';
        if (quoted && !(at && at->is_object() && at->contains(step)))
            step = step.substr(1, step.size() - 2);
        path = path_key(path, step);
        at = at && at->is_object() && at->contains(step) ? &(*at)[step] : nullptr;
    }
    return path;
}

// The deepest of the first errors: its parents are told after it.
SchemaFault first_error(ValidationResults &results, const json &value) {
    ValidationResults::Error error;
    if (!results.popError(error))
        return {"$", "the value does not match the schema"};
    return {path_of(error.context, value), error.description};
}

} // namespace

struct Schema::Compiled {
    std::map<std::string, Pattern> patterns;
    valijson::Schema schema;
};

Schema::Schema(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Schema::Schema(Schema &&) noexcept = default;
Schema &Schema::operator=(Schema &&) noexcept = default;
Schema::~Schema() = default;

std::optional<Schema> Schema::compile(const json &document, Guard guard, SchemaFault &fault) {
    std::optional<SchemaForm> form = make_schema_form(document, fault);
    if (!form)
        return std::nullopt;
    auto compiled = std::make_unique<Compiled>();
    compiled->patterns = std::move(form->patterns);
    Running now{guard, &compiled->patterns};
    RunningScope scope(now);
    try {
        parse(form->document, compiled->schema);
    } catch (const std::runtime_error &error) { // the library's own; what the guard throws passes
        fault = {"$", error.what()};
        return std::nullopt;
    }
    return Schema(std::move(compiled));
}

std::optional<SchemaFault> Schema::check(const json &value, Guard guard) const {
    json plain = plain_numbers(value);
    valijson::adapters::NlohmannJsonAdapter adapter(plain);
    Running now{guard, &compiled_->patterns};
    RunningScope scope(now);
    if (valijson::Validator().validate(compiled_->schema, adapter, nullptr))
        return std::nullopt;
    ValidationResults results; // once more, for the reason
    try {
        valijson::Validator().validate(compiled_->schema, adapter, &results);
    } catch (const EnoughErrors &) {
    }
    return first_error(results, plain);
}

} // namespace chronicle::core
