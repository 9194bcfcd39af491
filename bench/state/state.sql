SELECT chronicle.aggregate_state(:stream);
