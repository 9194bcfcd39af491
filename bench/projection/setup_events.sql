-- :events events in 1,000 streams; each is of one of 1,000 accounts, by chance.
SET work_mem = '64MB';
SELECT setseed(0.4711);
SELECT format('SELECT chronicle.append_event_arrays(%L, array_fill(%L::text, ARRAY[1000]), (SELECT array_agg(jsonb_set(%L, %L, to_jsonb((random() * 1000)::int))) FROM generate_series(1, 1000)))',
              'account-' || n % 1000, 'deposited', :'data', '{account}')
FROM generate_series(1, :events / 1000) AS n \gexec
VACUUM (ANALYZE) chronicle_data.event;
