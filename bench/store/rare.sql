SELECT (SELECT count(*) FROM chronicle.read_all(0, 100, types => '{rare}')) AS type,
       (SELECT count(*) FROM chronicle.read_category('rare')) AS category,
       (SELECT count(*) FROM chronicle.read_all(0, 100, categories => '{account}', types => '{rare}')) AS both,
       (SELECT count(*) FROM chronicle.read_all(0, 100, types => '{never}')) AS nothing;
