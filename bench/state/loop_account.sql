SELECT bench.loop_account('account-1');
