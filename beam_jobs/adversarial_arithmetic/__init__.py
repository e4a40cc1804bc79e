"""The jobs of `adversarial_arithmetic`: candidates tried on a model, and the search that writes and tries by turns."""
