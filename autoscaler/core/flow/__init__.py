"""From an observation to a plan, one step after the other."""
