"""Diffusion models composed as densities and sampled by MCMC (Reduce, Reuse, Recycle, arXiv:2302.11552)."""
