"""The oracle: a schedule of allocations chosen with knowledge of every request.

schedules  requests, levels     -> costs, paths   dynamic programming, compiled
search     scenario, workload   -> Plant          the cheapest schedule that meets the SLO
"""
