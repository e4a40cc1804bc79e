"""Faults on purpose: each is done to a real job at a chosen point; then the same command runs again and must end alike.

`python -m workflows.chaos` (`make chaos`) prints a row for each and fails if one failed.
"""
