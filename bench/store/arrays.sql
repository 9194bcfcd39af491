\if :n
SELECT array_fill('deposited'::text, ARRAY[1000]) AS types, array_fill((:data)::jsonb, ARRAY[1000]) AS events \gset
\set n 0
\endif
SELECT chronicle.append_event_arrays('account-' || (:client_id + 1), :types, :events);
