"""What runs: one module per system that declares its DAG, and the engine under them."""
