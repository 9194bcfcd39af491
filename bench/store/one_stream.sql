SELECT chronicle.append_event('account-1', 'deposited', :data);
