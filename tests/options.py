"""A policy that recommends the allocations that a test sets."""

from autoscaler.core.values import Reason, Step


class FixedPolicy:
    name = "fixed"
    load_window_s = 60.0

    def __init__(self, allocations=1):
        self.allocations = allocations
        self.situation = None  # the last one that it received

    def begin(self):
        return None

    def recommend(self, situation, memory):
        self.situation = situation
        return Step(Reason.RECOMMENDATION, situation.current, self.allocations), memory
