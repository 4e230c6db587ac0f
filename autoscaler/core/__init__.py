"""Decide how many allocations each deployment should have. Pure: no I/O, no clock, no logging.

    sampling     two observations  -> Sample        what happened in between
    estimation   samples           -> LoadEstimate  arrival rate, service time, offered load
    measurement  both of these     -> Measurement   what one observation adds to what is known
    policies     situation         -> Step          what a policy is; target tracking
    capacity     one observation   -> Room          what still fits on the nodes
    constraints  step, limits      -> Step, Step... the allocations we may ask for
    selection    rules, deployment -> Rule          who is managed, and how
    feedback     outcomes          -> State         what the cluster's answers teach
    planning     all of the above  -> Plan          with every step that led to it
    explanation  decision          -> a sentence

The default policy, `slo`, goes through

    service      timed requests    -> Service       how long requests take, how unevenly they come
    objective    service time      -> wait limit    what was promised to callers
    expectation  counts            -> loads         what to expect next, as a distribution
    splitting    nodes, number     -> Split         where a number of allocations would be
    queueing     load, split       -> late share    how many requests would wait too long
    error_budget late requests     -> price         what a late request is worth
    weighing     all of these      -> number        the one that costs least
    forecasting  loads             -> Forecast      the highest load to expect, and whether to
                                                    trust it: probes, calibration, seasonality

The nouns are in `values`. Which module may import which: docs/architecture.md.
"""
