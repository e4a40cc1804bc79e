"""The cells of evolution's experiments."""
