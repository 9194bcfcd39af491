-- The same history as aggregates: each package's events fold into its state, at any time. After schema.sql and
-- import_log(), in a session with search_path = public, chronicle.
SET client_min_messages = warning;

-- Only the status lines tell how an action ended.
CREATE OR REPLACE FUNCTION package_history.apply_change(state jsonb, event chronicle.event) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF event.type <> 'PackageStatusChanged' THEN
        RETURN state;
    END IF;
    RETURN jsonb_build_object('status', event.data -> 'status', 'version', event.data -> 'version', 'since', event.data -> 'at');
END $$;
SELECT create_aggregate('package', 'package_history.apply_change', '{"status": "not-installed"}', replace => true)
\g /dev/null

-- One row per package of the log: as its events say, and as dpkg says (from compare.sql).
CREATE OR REPLACE VIEW package_history.state_comparison AS
SELECT s.package, a.state ->> 'status' AS status, a.state ->> 'version' AS version, (a.state ->> 'since')::timestamp AS since,
       d.status AS dpkg_status, d.version AS dpkg_version,
       a.state ->> 'status' = COALESCE(d.status, 'not-installed')
           AND (d.status IS NULL OR a.state ->> 'version' IS NOT DISTINCT FROM d.version) AS agrees
  FROM (SELECT DISTINCT stream, substr(stream, length('package-') + 1) AS package FROM events WHERE category = 'package') AS s
 CROSS JOIN LATERAL aggregate_state(s.stream) AS a (state)
  LEFT JOIN package_history.dpkg_package AS d ON d.package = s.package;

SELECT count(*) AS packages, count(*) FILTER (WHERE s.agrees) AS agree,
       count(*) FILTER (WHERE NOT s.agrees AND c.reason IS NOT NULL) AS explained
  FROM package_history.state_comparison AS s LEFT JOIN package_history.comparison AS c USING (package) \gset
\echo Folded by aggregate_state: :packages packages, :agree as dpkg-query says, :explained differ for a reason that is known.
