"""Builds that are broken on purpose, for one process and for several."""

from autoscaler.control_loop import ControlLoop


def no_update_storm(monkeypatch):
    """An update is sent again and again."""
    carry_out = ControlLoop._carry_out

    async def repeated(self, *given):
        for _ in range(12):
            await carry_out(self, *given)
        return await carry_out(self, *given)

    monkeypatch.setattr(ControlLoop, "_carry_out", repeated)
