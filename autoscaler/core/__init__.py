"""Decide how many allocations each deployment should have. Pure: no I/O, no clock, no logging.

    sampling     two observations  -> Sample        what happened in between
    estimation   samples           -> LoadEstimate  arrival rate, service time, offered load
    measurement  both of these     -> Measurement   what one observation adds to what is known
    objective    service time      -> wait limit    what was promised to callers
    policies     load              -> Step          the allocations that would be right
    capacity     one observation   -> Room          what still fits on the nodes
    constraints  step, limits      -> Step, Step... the allocations we may ask for
    selection    rules, deployment -> Rule          who is managed, and how
    feedback     outcomes          -> State         what the cluster's answers teach
    planning     all of the above  -> Plan          with every step that led to it
    explanation  decision          -> a sentence

Each module imports only those above it, and the nouns in `values`.
"""
