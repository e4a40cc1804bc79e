"""The E-step of ReST-EM as Beam jobs: samples of problems, and their verdicts."""
