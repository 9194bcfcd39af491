SELECT bench.kept_and_50_calls(:stream);
