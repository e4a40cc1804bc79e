"""Exponents, scales and alignment of width parameterizations (arXiv:2407.05872): what to multiply, how to initialise, which rate each layer gets."""
