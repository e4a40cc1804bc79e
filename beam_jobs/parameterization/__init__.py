"""The cells of parameterization's grids."""
