"""In-context learners (arXiv:2212.04458): networks that learn from the labelled examples they read."""
