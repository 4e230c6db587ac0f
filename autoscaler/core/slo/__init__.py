"""The default policy: meets the SLO at the least cost."""
