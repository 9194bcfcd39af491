// A user's statement, run once with bound parameters.
//
// The text is cut into tokens by PostgreSQL's own scanner, so what stands in strings, quoted names, comments or dollar
// quotes is never touched. ':' directly before a name that is declared becomes $n; "IN (:name)" for an array becomes
// "= ANY($n)", and "NOT IN (:name)" "<> ALL($n)". Types: booleans, integers and decimals are typed; strings, lists and
// nulls are left to the parser, as PREPARE does. Values are bound as text through the parameter type's input function,
// never pasted.
#include "flow/statement.hpp"

#include "compat/compat.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "common/keywords.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "parser/parse_param.h"
#include "parser/scanner.h"
#include "tcop/dest.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
}

namespace chronicle::flow {

namespace {

struct Token {
    int kind;
    size_t begin, end;
    std::string word; // of names and keywords, folded as PostgreSQL folds them
};

struct RawToken {
    int kind;
    int begin;
    const char *word;
};

std::vector<Token> scan(const std::string &sql) {
    core_yyscan_t scanner;
    core_yy_extra_type extra;
    pg::call([&]() noexcept { scanner = scanner_init(sql.c_str(), &extra, &ScanKeywords, ScanKeywordTokens); });
    std::vector<Token> tokens;
    for (;;) {
        RawToken raw = pg::call([&]() noexcept {
            core_YYSTYPE value;
            YYLTYPE at = 0;
            value.str = nullptr;
            int kind = core_yylex(&value, &at, scanner);
            bool named = kind == compat::token_identifier || kind > compat::last_value_token;
            return RawToken{kind, at, !named ? nullptr : kind == compat::token_identifier ? value.str : value.keyword};
        });
        if (!tokens.empty())
            tokens.back().end = raw.kind == 0 ? sql.size() : static_cast<size_t>(raw.begin);
        if (raw.kind == 0)
            break;
        tokens.push_back({raw.kind, static_cast<size_t>(raw.begin), 0, raw.word ? raw.word : ""});
    }
    pg::call([&]() noexcept { scanner_finish(scanner); });
    return tokens;
}

struct Parameter {
    Oid type; // InvalidOid: the parser infers it
    std::optional<std::string> text;
};

std::string array_text(const core::json &list) {
    std::string text = "{";
    for (const core::json &item : list) {
        if (text.size() > 1)
            text += ',';
        if (item.is_null()) {
            text += "NULL";
            continue;
        }
        text += '"';
        for (char c : item.is_string() ? item.get<std::string>() : core::write_json(item)) {
            if (c == '"' || c == '\\')
                text += '\\';
            text += c;
        }
        text += '"';
    }
    return text + "}";
}

Parameter make_parameter(const core::json &value) {
    if (value.is_null())
        return {InvalidOid, std::nullopt};
    if (value.is_boolean())
        return {BOOLOID, value.get<bool>() ? "true" : "false"};
    if (core::is_number(value)) {
        std::optional<int64> integer = core::integer_value(value);
        Oid type = !integer ? NUMERICOID : *integer >= PG_INT32_MIN && *integer <= PG_INT32_MAX ? INT4OID : INT8OID;
        return {type, integer ? std::to_string(*integer) : core::number_text(value)};
    }
    if (value.is_string())
        return {InvalidOid, value.get<std::string>()};
    // Scalars make a PostgreSQL array; rows of another node, say, stay what they are.
    if (value.is_array() &&
        std::none_of(value.begin(), value.end(), [](const core::json &i) { return i.is_structured(); }))
        return {InvalidOid, array_text(value)};
    return {JSONBOID, core::write_json(value)};
}

// The text with $n, the parameters in order, and the names that may be relations.
struct Prepared {
    std::string sql;
    std::vector<Parameter> parameters;
    std::vector<std::string> names;
};

class Rewriter {
public:
    Rewriter(const std::string &sql, const core::json &parameters)
        : sql_(sql), parameters_(parameters), tokens_(scan(sql)) {}

    Prepared rewrite() {
        for (size_t i = 0; i < tokens_.size();) {
            if (tokens_[i].word == "not" && replaces_in(i + 1)) {
                put("<> ALL(" + placeholder(name_of(i + 4), true) + ")", tokens_[i].begin, tokens_[i + 5].begin + 1);
                i += 6;
            } else if (replaces_in(i)) {
                put(" = ANY(" + placeholder(name_of(i + 3), true) + ")", tokens_[i].begin, tokens_[i + 4].begin + 1);
                i += 5;
            } else if (is_parameter(i)) {
                put(placeholder(name_of(i + 1)), tokens_[i].begin, word_end(tokens_[i + 1]));
                i += 2;
            } else {
                if (!tokens_[i].word.empty())
                    result_.names.push_back(tokens_[i].word);
                i++;
            }
        }
        result_.sql.append(sql_, copied_);
        return std::move(result_);
    }

private:
    bool is(size_t i, char c) const { return i < tokens_.size() && tokens_[i].kind == c; }
    // ":name" without space between, and the name is declared.
    bool is_parameter(size_t i) const {
        return is(i, ':') && i + 1 < tokens_.size() && tokens_[i + 1].begin == tokens_[i].begin + 1 &&
               !tokens_[i + 1].word.empty() && parameters_.contains(name_of(i + 1));
    }
    // As written: JSON keys have case.
    std::string name_of(size_t i) const {
        return sql_.substr(tokens_[i].begin, word_end(tokens_[i]) - tokens_[i].begin);
    }
    // "IN (:name)" with an array.
    bool replaces_in(size_t i) const {
        return i + 4 < tokens_.size() && tokens_[i].word == "in" && is(i + 1, '(') && is_parameter(i + 2) &&
               is(i + 4, ')') && parameters_[name_of(i + 3)].is_array();
    }
    size_t word_end(const Token &token) const {
        size_t end = token.begin;
        while (end < token.end && (isalnum(static_cast<unsigned char>(sql_[end])) || sql_[end] == '_' ||
                                   sql_[end] == '$' || static_cast<unsigned char>(sql_[end]) >= 128))
            end++;
        return end;
    }
    std::string placeholder(const std::string &name, bool in_list = false) {
        auto found = numbers_.find(name);
        if (found == numbers_.end()) {
            // The run's input is JSON whatever it holds; only in a list it is a list.
            bool as_json = name == "input" && !in_list;
            result_.parameters.push_back(as_json ? Parameter{JSONBOID, core::write_json(parameters_[name])}
                                                 : make_parameter(parameters_[name]));
            found = numbers_.emplace(name, result_.parameters.size()).first;
        }
        return "$" + std::to_string(found->second);
    }
    void put(const std::string &text, size_t begin, size_t end) {
        result_.sql.append(sql_, copied_, begin - copied_);
        result_.sql += text;
        copied_ = end;
    }

    const std::string &sql_;
    const core::json &parameters_;
    std::vector<Token> tokens_;
    Prepared result_;
    std::unordered_map<std::string, size_t> numbers_;
    size_t copied_ = 0;
};

struct ParameterTypes {
    Oid *types;
    int count;
};

void set_up_parser(ParseState *state, void *argument) {
    ParameterTypes *types = static_cast<ParameterTypes *>(argument);
    setup_parse_variable_parameters(state, &types->types, &types->count);
}

ParamListInfo bind_values(const std::vector<Parameter> &parameters, const ParameterTypes &types) {
    int count = static_cast<int>(parameters.size());
    if (count == 0)
        return nullptr;
    ParamListInfo list = pg::call([&]() noexcept { return makeParamList(count); });
    for (int i = 0; i < count; i++) {
        const Parameter &parameter = parameters[static_cast<size_t>(i)];
        Oid type =
            i < types.count && OidIsValid(types.types[i]) && types.types[i] != UNKNOWNOID ? types.types[i] : TEXTOID;
        const char *text = parameter.text ? parameter.text->c_str() : nullptr;
        pg::call([&]() noexcept {
            ParamExternData &bound = list->params[i];
            Oid function, type_parameter;
            getTypeInputInfo(type, &function, &type_parameter);
            bound.ptype = type;
            bound.pflags = PARAM_FLAG_CONST;
            bound.isnull = text == nullptr;
            bound.value =
                text ? OidInputFunctionCall(function, const_cast<char *>(text), type_parameter, -1) : Datum(0);
        });
    }
    return list;
}

void register_mentioned(const std::vector<std::string> &names, NamedRelations &relations) {
    std::vector<std::string> done;
    for (const std::string &name : names) {
        if (std::find(done.begin(), done.end(), name) != done.end())
            continue;
        done.push_back(name);
        if (const Rows *rows = relations.find(name))
            register_rows(name.c_str(), *rows);
    }
}

// Columns of the only statement in the plan; nullptr when it returns no rows.
TupleDesc result_columns(SPIPlanPtr plan) {
    List *sources = SPI_plan_get_plan_sources(plan);
    if (list_length(sources) != 1)
        pg::raise(ERRCODE_SYNTAX_ERROR,
                  {.message = list_length(sources) == 0
                                  ? "the node's sql is empty"
                                  : "the node's sql must be one statement, not " + std::to_string(list_length(sources)),
                   .hint = "Use one node for each statement, or a function."});
    return static_cast<CachedPlanSource *>(linitial(sources))->resultDesc;
}

} // namespace

StatementResult run_statement(const std::string &sql, const core::json &parameters, NamedRelations &relations) {
    Prepared prepared = Rewriter(sql, parameters).rewrite();
    StatementResult result;
    pg::Spi spi;
    register_mentioned(prepared.names, relations);

    int count = static_cast<int>(prepared.parameters.size());
    ParameterTypes types{static_cast<Oid *>(pg::call(
                             [&]() noexcept { return palloc0(sizeof(Oid) * static_cast<size_t>(count + 1)); })),
                         count};
    for (int i = 0; i < count; i++)
        types.types[i] = prepared.parameters[static_cast<size_t>(i)].type;
    const char *text = prepared.sql.c_str();
    SPIPlanPtr plan = pg::call([&]() noexcept {
        SPIPrepareOptions options{};
        options.parserSetup = set_up_parser;
        options.parserSetupArg = &types;
        options.parseMode = RAW_PARSE_DEFAULT;
        return SPI_prepare_extended(text, &options);
    });
    if (!plan)
        pg::raise(ERRCODE_SYNTAX_ERROR,
                  {.message = std::string("could not prepare the node's sql: ") + SPI_result_code_string(SPI_result)});
    TupleDesc columns = result_columns(plan);
    ParamListInfo bound = bind_values(prepared.parameters, types);
    if (columns)
        result.rows = make_rows(columns);
    int code = pg::call([&]() noexcept {
        SPIExecuteOptions options{};
        options.params = bound;
        if (result.rows) {
            options.dest = CreateTuplestoreDestReceiver();
            SetTuplestoreDestReceiverParams(options.dest, result.rows->store, rows_memory(), true, nullptr, nullptr);
        }
        return SPI_execute_plan_extended(plan, &options);
    });
    if (code < 0)
        pg::raise(ERRCODE_FEATURE_NOT_SUPPORTED,
                  {.message = std::string("a node cannot run this statement: ") + SPI_result_code_string(code),
                   .hint = "Transaction control and COPY from the client are not possible in a node."});
    result.touched = static_cast<int64>(SPI_processed);
    if (result.rows) // SPI does not count the rows of EXPLAIN and the like
        result.touched = result.rows->count = tuplestore_tuple_count(result.rows->store);
    return result;
}

} // namespace chronicle::flow
