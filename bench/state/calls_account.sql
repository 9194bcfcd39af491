SELECT bench.calls_account('account-1');
