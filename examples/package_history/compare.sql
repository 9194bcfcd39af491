-- Is the state that was folded from the events the one that dpkg itself knows? And if not, why not?
SET client_min_messages = warning;

BEGIN;
TRUNCATE package_history.dpkg_package, package_history.dpkg_file_list;
\copy package_history.dpkg_package from program 'dpkg-query -W -f="\${Package}:\${Architecture}\\t\${db:Status-Status}\\t\${Version}\\n"'
\copy package_history.dpkg_file_list from program 'find /var/lib/dpkg/info -name "*.list" -printf "%f\\t%TY-%Tm-%Td %TH:%TM:%TS\\n" | sed "s/\\.list\\t/\\t/"'
COMMIT;

\pset footer off
SELECT count(*) FILTER (WHERE agrees) AS agree, count(*) FILTER (WHERE NOT agrees) AS differ,
       count(*) FILTER (WHERE NOT agrees) > 0 AS any_differ
  FROM package_history.comparison \gset
\if :any_differ
\echo Why packages differ
SELECT count(*) AS packages, reason, array_to_string((array_agg(package ORDER BY package))[1:3], ', ') AS "for example"
  FROM package_history.comparison WHERE NOT agrees GROUP BY reason ORDER BY packages DESC, reason;
\endif
\echo Compared with dpkg-query: :agree packages agree, :differ differ.
