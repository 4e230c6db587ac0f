"""A policy that wants what a test tells it to."""

from autoscaler.core.values import Reason, Step


class Wishing:
    name = "wishing"
    load_window_s = 60.0

    def __init__(self, number=1):
        self.number = number
        self.situation = None  # the last one it was asked about

    def begin(self):
        return None

    def recommend(self, situation, memory):
        self.situation = situation
        return Step(Reason.RECOMMENDATION, situation.current, self.number), memory
