"""Grids of independent cells: planned in groups, run once, kept as content-addressed Parquet shards."""
