"""The flow of a cycle: from an observation to a plan, and from outcomes to the next state."""
