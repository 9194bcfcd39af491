SELECT chronicle.aggregate_state('last-1');
