"""Load from other sources."""
