"""The tiles of trainability's images."""
