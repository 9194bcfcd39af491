\set s random(1, 1000)
SELECT chronicle.append_event('account-' || :s, 'deposited', :data);
