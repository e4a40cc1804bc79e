"""Gradients of unrolled computations by evolution strategies and by differentiation (arXiv:2304.12180)."""
