-- Nobody calls internal functions; those that views need are granted by name. Users' functions check levels in C++.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA chronicle_data FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA chronicle_data FROM PUBLIC;

SELECT chronicle_data.wake_launcher();
