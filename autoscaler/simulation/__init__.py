"""A cluster that is not there: Elasticsearch's trained-model deployments in virtual time.

What it is made of, from the bottom up:

    specs, versions    nodes and models as values; how Elasticsearch's versions differ
    workload, traces   who asks when; recorded loads
    ledger             what callers experienced and what it cost: the score of a run
    process            one bounded queue and its workers (service, statistics, requests)
    route, deployment  the cluster's state: settings, targets, what runs where
    memory, placement  where allocations may go (growing); reduction: which go (shrinking)
    state, events      everything that is, and everything that is due
    lifecycle          from targets to processes: loading, resizing, draining, crashing
    traffic, parking   requests on their way, and those who wait for a first allocation
    directory          which deployment an id means
    native_scaler      the arithmetic of Elasticsearch's own scaler; native_scaling: at work
    validation         what an operation may not say; admission: what the state forbids
    assignment         from wanted numbers to targets, all or nothing on fixed hardware
    cluster            the operations of the API: the one entry point
    scenario           a cluster described in a file
    emulator           the cluster behind Elasticsearch's HTTP API

All but the emulator is pure: no I/O but reading files, no clock, and randomness from a seed.
"""
