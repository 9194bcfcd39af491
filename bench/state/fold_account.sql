SELECT chronicle.aggregate_state('account-1');
