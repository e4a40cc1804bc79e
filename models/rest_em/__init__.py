"""ReST-EM (arXiv:2312.06585): problems, samples, and what is chosen and measured of them; pure functions."""
