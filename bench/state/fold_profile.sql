SELECT chronicle.aggregate_state('profile-1');
