"""Back-tests: any policy, ours or another's, on any load, in virtual time.

scenario     a file                -> Scenario      the deployment, its nodes, its callers
generators   a name, a seed        -> Trace         loads that need no recording
demand       trace, scenario, seed -> Demand        every request, and the days before
plant        demand                -> statistics    a simulated cluster, compiled where it counts
peers        what they look at     -> Step          every autoscaler people know
contestants  a name, a setting     -> Contestant    who can be put to the test
trial        contestant, demand    -> Trial         one run
scoring      what callers met      -> Row           what it was worth and what it cost
comparison   rows                  -> Standing      at equal cost, and at equal attainment
"""
