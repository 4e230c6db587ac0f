"""The policy `slo`, the default: meets the SLO at the lowest cost."""
