SELECT bench.calls_last('last-1');
