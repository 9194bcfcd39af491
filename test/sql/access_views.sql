-- Every view can be read by everybody; what it shows is another matter. (Functions in a view run as the reader, and need a grant.)
SET search_path = public, chronicle;
CREATE ROLE regress_views_none;
CREATE ROLE regress_views_category;
CREATE ROLE regress_views_operator;
SELECT grant_category('regress_views_category', 'viewed', 'read'), grant_access('regress_views_operator', 'operator');
CREATE FUNCTION views_apply(state jsonb, e chronicle.event) RETURNS jsonb LANGUAGE sql RETURN state;
SELECT create_aggregate('viewed', 'views_apply', snapshot_every => 10);
SELECT append_event_arrays('viewed-1', array_fill('T'::text, ARRAY[10]), NULL);
CREATE FUNCTION views_refused(name text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    view text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', name);
    FOR view IN SELECT viewname FROM pg_views WHERE schemaname = 'chronicle' ORDER BY 1 LOOP
        BEGIN
            EXECUTE format('SELECT count(v::text) FROM chronicle.%I AS v', view);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT format('%s: %s %s', view, sqlstate, sqlerrm);
        END;
    END LOOP;
END $$;
SELECT role, views_refused(role) FROM unnest(ARRAY['regress_views_none', 'regress_views_category', 'regress_views_operator']) AS role;
SELECT count(*) > 20 AS many FROM pg_views WHERE schemaname = 'chronicle';
SET ROLE regress_views_category;
SELECT category, apply, fault, failing_streams FROM aggregates WHERE category = 'viewed';
SELECT stream, version FROM snapshots WHERE stream LIKE 'viewed%';
SET ROLE regress_views_none;
SELECT count(*) FROM aggregates;
RESET ROLE;
SELECT drop_aggregate('viewed'), revoke_access('regress_views_operator', 'reader'), revoke_category('regress_views_category', 'viewed', 'read');
DROP FUNCTION views_apply, views_refused;
DROP ROLE regress_views_none, regress_views_category, regress_views_operator;
