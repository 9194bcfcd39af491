-- The tables that the workflow wrote.
\pset footer off
\pset null ''

\echo
\echo Summary
SELECT events, packages, installed, days, busiest_day, first_event, last_event FROM package_history.summary;

\echo The newest days
SELECT day, installed, upgraded, removed FROM package_history.daily_change ORDER BY day DESC LIMIT 10;

\echo The packages that changed most
SELECT package, changes, events, last_change FROM package_history.package_activity ORDER BY changes DESC, events DESC, package LIMIT 10;

\echo The state of the packages
SELECT status, count(*) AS packages FROM package_history.package_state GROUP BY status ORDER BY packages DESC, status;
SELECT package, status, version, changed_at FROM package_history.package_state ORDER BY changed_at DESC, package LIMIT 10;
