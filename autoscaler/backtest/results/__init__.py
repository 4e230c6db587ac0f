"""How runs are scored, compared, stored and shown."""
