"""The simulated deployment, its load and its scenario."""
