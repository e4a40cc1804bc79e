"""Learned optimizers as Optax transformations: VeLO, STAR and their baselines."""
