"""Equal-Info codecs: a small byte model compiled into a fixed, lossless, fast tokenizer (arXiv:2404.03626)."""
