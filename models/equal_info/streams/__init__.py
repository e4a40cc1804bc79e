"""The paper's other compressors as codecs: streams of bits cut into tokens, no dictionary (arXiv:2404.03626)."""
