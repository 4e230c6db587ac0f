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

The default policy is the package `slo`; its forecast of the load is the package `forecast`.

The nouns are in `values`. Which module may import which: docs/architecture.md.
"""
