-- A state for each stream, by a worker.
SELECT chronicle.create_projection('states', categories => '{account}', handler => 'bench.total', partition_by => 'stream',
                                   initial_state => '{"n": 0, "amount": 0}');
