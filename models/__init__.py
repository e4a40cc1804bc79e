"""What is computed: networks, codecs, estimators, samplers, formulas; arrays in, arrays out."""
