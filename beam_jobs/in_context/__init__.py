"""Meta-trainings of in_context as cells."""
