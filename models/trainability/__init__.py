"""The boundary of trainability (arXiv:2402.06184): trainings as pixels, what converges, and how rough the edge is."""
