"""The cells of `composition`."""
