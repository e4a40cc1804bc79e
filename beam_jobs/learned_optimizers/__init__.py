"""The optimizer benchmark's trainings as cells of the sweep engine."""
