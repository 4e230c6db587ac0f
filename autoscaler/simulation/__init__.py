"""A simulated cluster: trained-model deployments in virtual time.

The modules, from the lowest layer to the highest:

    specs, versions    nodes and models as values; the differences between Elasticsearch versions
    traces, workload   recorded request rates; arrival processes; loads: the same as data
    trace_files        files of request counts as traces
    errors, events     refusals of the API; scheduled actions
    ledger             the totals of a run: requests, waits and allocation-seconds
    statistics         the counters of one process; requests: one document each; service_times
    process            one bounded queue and its workers
    route, deployment  one deployment on one node; its settings, targets and routes
    memory, placement  where allocations fit; reduction: which allocations are removed
    state              nodes, models, deployments and events
    lifecycle          processes: loading, resizing, draining, crashing
    traffic            requests on their way to processes; zero_queue: at zero allocations
    directory          the deployment for an id
    validation         invalid requests; admission: requests that the state of the cluster rules out
    assignment         allocation counts -> targets, all or nothing on fixed hardware
    adaptive_allocations_scaler, adaptive_allocations_service
                       the arithmetic of adaptive allocations, and the service that applies it
    cluster            the operations of the API: the one entry point
    scenario           a cluster described in a file
    emulator           the cluster behind Elasticsearch's HTTP API

Everything except the emulator is pure: no I/O except reading files, no clock, and randomness from a
seed.
"""
