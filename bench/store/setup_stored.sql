-- One million events more in the table, on streams that nobody appends to afterwards.
SET synchronous_commit = off;
SELECT format('SELECT chronicle.append_event_arrays(%L, array_fill(%L::text, ARRAY[1000]), array_fill(%L::jsonb, ARRAY[1000]))',
              'filler-' || s, 'filled', :'data')
FROM generate_series(1, 1000) s \gexec
