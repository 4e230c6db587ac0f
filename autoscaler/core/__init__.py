"""Decide how many allocations each deployment should have. Pure: no I/O, no clock, no logging.

The flow, in `flow/`:

    sampling      two observations   -> Sample         the difference between them
    estimation    samples            -> LoadEstimate   arrival rate, service time, offered load
    measurement   both of these      -> Measurement    what one observation adds to the state
    constraints   step, context      -> Step, Step ... the allocations that may be requested
    transition    all of the above   -> state          what the next plan depends on
    assessment    one deployment     -> Claim          of the free capacity; later its Decision
    arbitration   all claims         -> Grant          who is granted the free capacity
    planning      one observation    -> Plan           in three passes, with every step
    feedback      outcomes           -> State          what responses change
    cycle         both of these      -> the next state what daemon and back-test call

What it uses:

    policies      Situation          -> Step           the interface of a policy; `utilisation`
    capacity      Observation        -> FreeCapacity   what still fits on the nodes
    selection     rules, deployment  -> Rule           which deployments are managed, and how
    scale_to_zero samples            -> Decision       idle, stopped and resumed deployments
    instructions                                       pauses and overrides of operators
    state                                              what one plan leaves for the next
    explanation   Decision           -> text           with step_text, the only place for messages

The default policy is in `slo/`, and its forecast in `forecast/`. The types are in `values` and
`decision`. Which module may import which: docs/architecture.md.
"""
