-- A function in a view runs as the reader (tables run as the view's owner), so these are everybody's to call. They tell
-- nothing: each computes from its arguments, or says what the caller may see.
GRANT EXECUTE ON FUNCTION
    chronicle_data.has_level(text), chronicle_data.may_read(text), chronicle_data.may_read_stream(text),
    chronicle_data.may_append(text), chronicle_data.upcast_version(text, int), chronicle_data.upcast_data(bigint), chronicle_data.trigger_fault(text, text[]),
    chronicle_data.sees_execution(text, text),
    chronicle_data.workers(), chronicle_data.node_types(),
    chronicle_data.hidden_versions(bigint), chronicle_data.own_unnamed_events(),
    chronicle_data.aggregate_fault(text, text, text),
    chronicle_data.projection_lag(bigint, bigint),
    chronicle_data.event_of(chronicle.events),
    chronicle_data.epoch_ms(timestamptz), chronicle_data.ms_between(timestamptz, timestamptz),
    chronicle_data.timeline_bar(double precision, double precision, text, int),
    chronicle_data.span_json(timestamptz, timestamptz, text),
    chronicle_data.node_json(text, text, timestamptz, timestamptz, text, bigint, text),
    chronicle_data.unknown_workflow(text, int), chronicle_data.unknown_execution(uuid),
    chronicle_data.known_execution(uuid)
    TO PUBLIC;
