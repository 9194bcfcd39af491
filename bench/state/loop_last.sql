SELECT bench.loop_last('last-1');
