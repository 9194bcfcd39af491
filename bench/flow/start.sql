SELECT chronicle.execute_workflow('three');
