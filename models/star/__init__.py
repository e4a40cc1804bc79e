"""The noisy-quadratic theory of stable learned optimizers (arXiv:2209.11208)."""
