"""Schedulers that know in advance what no autoscaler can know, as lower bounds of the cost.

schedules      requests, levels     -> costs, paths   dynamic programming, compiled
weight_search  violations           -> weight         the weight that just uses the error budget
search         scenario, workload   -> Plant          every request is known: the oracle
outlooks       scenario, workload   -> loads          the true rates, and what usually follows one
staffing       loads, plant         -> allocations    at each poll, by the queue model of `slo`
rate_oracle    scenario, outlooks   -> Plant          only the rates are known: the rate oracle
"""
