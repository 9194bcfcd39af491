// Every difference between PostgreSQL 15 and 18 that we meet: the only place with #if on PG_VERSION_NUM.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_proc.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif
#include "executor/executor.h"
#include "parser/parse_type.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/wait_event.h"
}

namespace chronicle::compat {

/// This process's number among all PGPROCs, from 0.
inline int my_proc_number() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyProc->pgprocno;
#endif
}

inline PGPROC *proc_by_number(int number) {
#if PG_VERSION_NUM >= 170000
    return GetPGProcByNumber(number);
#else
    return &ProcGlobal->allProcs[number];
#endif
}

inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

inline void insert_index_tuples(ResultRelInfo *relation, TupleTableSlot *slot, EState *estate) {
#if PG_VERSION_NUM >= 160000
    ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL, false);
#else
    ExecInsertIndexTuples(relation, slot, estate, false, false, nullptr, NIL);
#endif
}

/// Tokens of core_yylex (the numbers that bison gives gram.y's first %token lines; gram.h is not installed).
/// IDENT UIDENT FCONST SCONST USCONST BCONST XCONST Op ICONST PARAM TYPECAST DOT_DOT COLON_EQUALS EQUALS_GREATER
/// LESS_EQUALS GREATER_EQUALS NOT_EQUALS, then the keywords.
inline constexpr int token_identifier = 258;
inline constexpr int last_value_token = 274;

/// A type name with its modifier; raises 42704 when there is no such type.
inline void parse_type(const char *text, Oid *type, int32 *modifier) {
#if PG_VERSION_NUM >= 160000
    (void)parseTypeString(text, type, modifier, nullptr);
#else
    parseTypeString(text, type, modifier, false);
#endif
}

inline bool owns_database(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(DatabaseRelationId, database, role);
#else
    return pg_database_ownercheck(database, role);
#endif
}

inline bool may_connect(Oid database, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK;
#else
    return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

inline bool may_execute(Oid function, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
    return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/// "schema.name" as a list of names; raises 42602 for what is no name.
inline List *parse_qualified_name(const char *text) {
#if PG_VERSION_NUM >= 160000
    return stringToQualifiedNameList(text, nullptr);
#else
    return stringToQualifiedNameList(text);
#endif
}

/// Raises 42501 when the current user may not call the function.
inline void require_execute(Oid function) {
#if PG_VERSION_NUM >= 160000
    AclResult result = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);
#else
    AclResult result = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif
    if (result != ACLCHECK_OK)
        aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

inline void explain_text(const char *label, const char *value, ExplainState *output) {
    ExplainPropertyText(label, value, output);
}

/// Whether a background worker may connect as a role that has no LOGIN (PostgreSQL 17 and later).
#if PG_VERSION_NUM >= 170000
inline constexpr bool connects_as_nologin = true;
inline constexpr uint32 worker_connection_flags = BGWORKER_BYPASS_ROLELOGINCHECK;
#else
inline constexpr bool connects_as_nologin = false;
inline constexpr uint32 worker_connection_flags = 0;
#endif

/// The wait event that pg_stat_activity shows while a process of ours sleeps.
inline uint32 wait_event([[maybe_unused]] const char *name) {
#if PG_VERSION_NUM >= 170000
    return WaitEventExtensionNew(name);
#else
    return PG_WAIT_EXTENSION;
#endif
}

} // namespace chronicle::compat
