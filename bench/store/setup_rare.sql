-- Three events of a rare type and three of a rare category.
SELECT count(chronicle.append_event('account-' || s, 'rare', :'data')) + count(chronicle.append_event('rare-' || s, 'deposited', :'data'))
FROM generate_series(1, 3) s;
VACUUM (ANALYZE) chronicle_data.event;
