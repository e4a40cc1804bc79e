"""Parameterizations: how initial values, multipliers and learning rates change with width (arXiv:2407.05872)."""

from models.parameterization.exponents import ALIGNMENTS, OPTIMIZERS, PARAMETERIZATIONS, ROLES, Exponents, exponents

__all__ = ["ALIGNMENTS", "OPTIMIZERS", "PARAMETERIZATIONS", "ROLES", "Exponents", "exponents"]
