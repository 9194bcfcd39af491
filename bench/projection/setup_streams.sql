SELECT count(chronicle.append_event('account-' || s, 'deposited', :'data')) FROM generate_series(1, 1000) AS s;
