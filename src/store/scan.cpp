// Reads in a FROM clause, row by row.
//
// The executor calls a function in FROM once, has it put all rows into a tuplestore (a file when they are more than
// work_mem), and then scans that. For read_stream, read_all and read_category the planner gets another path instead: a
// CustomScan that takes one event after another from the same source as the function. Nothing is stored in between,
// only the columns that the query uses are made, and a LIMIT above ends the reading.
//
// Where the whole row is used (`apply(state, e)`, an UPDATE … FROM), WITH ORDINALITY, ROWS FROM of several functions,
// and outside FROM, it stays with the function. Both see the statement's snapshot, and check the caller's rights the
// same.
//
// Life of a scan: begin → (open → rows …, rescan: close)* → end. The source is a C++ object that lives between calls of
// the executor. `end` deletes it. When an error ends the query instead, nothing is called: the reset of the executor's
// memory abandons the source, and PostgreSQL's abort has released its scans and relations.
#include "store/scan.hpp"

#include "compat/compat.hpp"
#include "store/read.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
}

namespace chronicle::store {

namespace {

set_rel_pathlist_hook_type previous_hook = nullptr;

// --- planning ---

// By the C function that the catalog leads to: whatever the name, it is ours, and no wrapper (SET, SECURITY DEFINER).
EventOpener opener_of(Oid function) noexcept {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        return nullptr;
    Form_pg_proc form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    bool possible = form->prolang == ClanguageId && form->proretset;
    ReleaseSysCache(tuple);
    if (!possible)
        return nullptr;
    FmgrInfo info;
    fmgr_info(function, &info);
    return event_opener(info.fn_addr);
}

const FuncExpr *call_in(const RangeTblEntry *rte) {
    if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
        return nullptr;
    const RangeTblFunction *function = linitial_node(RangeTblFunction, rte->functions);
    bool ours = IsA(function->funcexpr, FuncExpr) && function->funccolcount == event_columns;
    return ours ? castNode(FuncExpr, function->funcexpr) : nullptr;
}

// The columns that the expressions use, by their numbers (0: the row as a whole) plus the offset of pull_varattnos.
Bitmapset *columns_of(const RelOptInfo *rel, List *clauses) {
    Bitmapset *columns = nullptr;
    pull_varattnos(reinterpret_cast<Node *>(rel->reltarget->exprs), rel->relid, &columns);
    pull_varattnos(reinterpret_cast<Node *>(clauses), rel->relid, &columns);
    return columns;
}
bool uses(const Bitmapset *columns, int column) {
    return bms_is_member(column - FirstLowInvalidHeapAttributeNumber, columns);
}

Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *);
Node *make_state(CustomScan *scan);

constexpr CustomPathMethods path_methods = {"chronicle events", make_plan, nullptr};
constexpr CustomScanMethods scan_methods = {"chronicle events", make_state};

// In the place of the function scan that the planner made: the same rows at less cost.
void add_path_of_ours(RelOptInfo *rel) noexcept {
    Path *theirs = static_cast<Path *>(linitial(rel->pathlist));
    CustomPath *path = makeNode(CustomPath);
    path->path = *theirs;
    path->path.type = T_CustomPath;
    path->path.pathtype = T_CustomScan;
    path->path.pathkeys = NIL;
    path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
    path->methods = &path_methods;
    rel->pathlist = NIL;
    add_path(rel, &path->path);
}

void on_relation_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte) {
    if (previous_hook)
        previous_hook(root, rel, rti, rte);
    const FuncExpr *call = call_in(rte);
    if (!call || list_length(rel->pathlist) != 1)
        return;
    pg::entry([&] {
        pg::call([&]() noexcept {
            List *clauses = extract_actual_clauses(rel->baserestrictinfo, false);
            if (opener_of(call->funcid) && !uses(columns_of(rel, clauses), 0))
                add_path_of_ours(rel);
        });
    });
}

// The columns that the target list or a filter uses. The target list of the plan may still be exchanged for another one
// over the same columns, so those of the relation count.
List *used_columns(const RelOptInfo *rel, const CustomScan *scan) {
    constexpr int flags = PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS;
    List *used = pull_var_clause(reinterpret_cast<Node *>(rel->reltarget->exprs), flags);
    used = list_concat(used, pull_var_clause(reinterpret_cast<Node *>(scan->scan.plan.qual), flags));
    return used;
}

void add_column(CustomScan *scan, Var *column) {
    AttrNumber number = static_cast<AttrNumber>(list_length(scan->custom_scan_tlist) + 1);
    scan->custom_scan_tlist = lappend(scan->custom_scan_tlist, makeTargetEntry(&column->xpr, number, nullptr, false));
    scan->custom_private = lappend_int(scan->custom_private, column->varattno);
}

// The tuple that is scanned has the columns that are used, in the order of the target list: where that is nothing but
// columns, the executor has nothing to project.
void choose_columns(const RelOptInfo *rel, CustomScan *scan) {
    List *known = NIL;
    List *used = used_columns(rel, scan);
    ListCell *cell;
    foreach (cell, used) {
        Var *column = lfirst_node(Var, cell);
        bool of_another = column->varno != static_cast<int>(rel->relid); // LATERAL: it will be a parameter
        if (of_another || list_member(known, column))
            continue;
        known = lappend(known, column);
        add_column(scan, column);
    }
    if (known == NIL) // count(*): an empty list would mean a table's row type
        add_column(scan, makeVar(static_cast<int>(rel->relid), 1, INT8OID, -1, InvalidOid, 0));
}

Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses, List *) {
    CustomScan *scan = makeNode(CustomScan);
    scan->scan.plan.targetlist = tlist;
    scan->scan.plan.qual = extract_actual_clauses(clauses, false);
    scan->flags = path->flags;
    const FuncExpr *call = call_in(planner_rt_fetch(rel->relid, root));
    choose_columns(rel, scan);
    scan->custom_exprs = list_make1(copyObjectImpl(call));
    scan->methods = &scan_methods;
    return &scan->scan.plan;
}

// --- running ---

struct EventScan {
    CustomScanState css; // first: the executor knows only this
    EventOpener open;
    EventColumns wanted;
    int count; // of the columns of a tuple
    int columns[event_columns]; // of the event, by their numbers
    FunctionCallInfo call; // the function's arguments, evaluated
    List *arguments; // their ExprStates
    MemoryContext memory; // of the source, emptied when it is closed
    EventSource *source; // nullptr: closed
    bool has_mark; // a repeated scan ends where the first one did
    int64 mark;
    MemoryContextCallback on_reset;
};

EventScan *scan_of(void *node) { return static_cast<EventScan *>(node); }

void close(EventScan *scan) {
    delete std::exchange(scan->source, nullptr);
    MemoryContextReset(scan->memory);
}

void begin(CustomScanState *node, EState *estate, int) {
    EventScan *scan = scan_of(node);
    const CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
    FuncExpr *function = linitial_node(FuncExpr, plan->custom_exprs);
    compat::require_execute(function->funcid);
    InvokeFunctionExecuteHook(function->funcid);
    int count = list_length(function->args);
    FmgrInfo *info = static_cast<FmgrInfo *>(palloc0(sizeof(FmgrInfo)));
    fmgr_info_cxt(function->funcid, info, estate->es_query_cxt);
    scan->open = event_opener(info->fn_addr);
    ListCell *cell;
    foreach (cell, plan->custom_private) {
        scan->columns[scan->count++] = lfirst_int(cell);
        scan->wanted |= 1u << (lfirst_int(cell) - 1);
    }
    scan->call = static_cast<FunctionCallInfo>(palloc0(SizeForFunctionCallInfo(count)));
    InitFunctionCallInfoData(*scan->call, info, static_cast<short>(count), function->inputcollid, nullptr, nullptr);
    scan->arguments = ExecInitExprList(function->args, &node->ss.ps);
    scan->memory = AllocSetContextCreate(estate->es_query_cxt, "chronicle scan", ALLOCSET_DEFAULT_SIZES);
    scan->on_reset.func = [](void *argument) { pg::abandon(std::exchange(scan_of(argument)->source, nullptr)); };
    scan->on_reset.arg = scan;
    MemoryContextRegisterResetCallback(estate->es_query_cxt, &scan->on_reset);
}

void open(EventScan *scan) {
    pg::MemorySwitch to_scan(scan->memory);
    pg::call([&]() noexcept {
        ListCell *cell;
        int i = 0;
        foreach (cell, scan->arguments) {
            NullableDatum &argument = scan->call->args[i++];
            argument.value =
                ExecEvalExpr(static_cast<ExprState *>(lfirst(cell)), scan->css.ss.ps.ps_ExprContext, &argument.isnull);
        }
    });
    std::optional<int64> mark = scan->has_mark ? std::optional(scan->mark) : std::nullopt;
    scan->source = scan->open(pg::Arguments(scan->call), scan->css.ss.ps.state->es_snapshot, mark).release();
    scan->has_mark = mark.has_value();
    scan->mark = mark.value_or(0);
}

TupleTableSlot *fetch(ScanState *node) {
    EventScan *scan = scan_of(node);
    TupleTableSlot *slot = node->ss_ScanTupleSlot;
    pg::entry([&] {
        if (!scan->source)
            open(scan);
        ExecClearTuple(slot);
        const EventRow *row = scan->source->next();
        if (!row)
            return;
        pg::MemorySwitch to_row(scan->source->row_memory());
        Datum values[event_columns];
        bool nulls[event_columns];
        event_values(*row, scan->wanted, values, nulls);
        for (int i = 0; i < scan->count; i++) {
            slot->tts_values[i] = values[scan->columns[i] - 1];
            slot->tts_isnull[i] = nulls[scan->columns[i] - 1];
        }
        ExecStoreVirtualTuple(slot);
    });
    return slot;
}

bool recheck(ScanState *, TupleTableSlot *) { return true; }

TupleTableSlot *execute(CustomScanState *node) { return ExecScan(&node->ss, fetch, recheck); }

void end(CustomScanState *node) { close(scan_of(node)); }

void rescan(CustomScanState *node) {
    close(scan_of(node));
    ExecScanReScan(&node->ss);
}

void explain(CustomScanState *node, List *, ExplainState *output) {
    const CustomScan *plan = castNode(CustomScan, node->ss.ps.plan);
    compat::explain_text("Function", get_func_name(linitial_node(FuncExpr, plan->custom_exprs)->funcid), output);
}

constexpr CustomExecMethods methods = {.CustomName = "chronicle events",
                                       .BeginCustomScan = begin,
                                       .ExecCustomScan = execute,
                                       .EndCustomScan = end,
                                       .ReScanCustomScan = rescan,
                                       .MarkPosCustomScan = nullptr,
                                       .RestrPosCustomScan = nullptr,
                                       .EstimateDSMCustomScan = nullptr,
                                       .InitializeDSMCustomScan = nullptr,
                                       .ReInitializeDSMCustomScan = nullptr,
                                       .InitializeWorkerCustomScan = nullptr,
                                       .ShutdownCustomScan = nullptr,
                                       .ExplainCustomScan = explain};

Node *make_state(CustomScan *) {
    EventScan *scan = static_cast<EventScan *>(palloc0(sizeof(EventScan)));
    scan->css.ss.ps.type = T_CustomScanState;
    scan->css.methods = &methods;
    return reinterpret_cast<Node *>(scan);
}

} // namespace

void init_scan() {
    RegisterCustomScanMethods(&scan_methods);
    previous_hook = set_rel_pathlist_hook;
    set_rel_pathlist_hook = on_relation_paths;
}

} // namespace chronicle::store
