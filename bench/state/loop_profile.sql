SELECT bench.loop_profile('profile-1');
