"""Formats of data that is sent or stored, both ways: one side renders it, the other reads it.

Elasticsearch's JSON, which the client reads and the emulator renders:

stats           trained-model statistics  -> DeploymentStats
stats_document  the structs of trained-model statistics
unknown_figures the figures that an entry lacks, and that a decision needs
lenient         documents with odd values
deployments     bodies and responses of _start, _update, _stop and _infer
inference       inference endpoints
pipelines       the models that ingest pipelines name
cluster         /, _nodes, _ml/info, _ml/memory/_stats, _license, _security
errors          the error envelope

The daemon's JSON:

decisions       outcomes -> /decisions, which `explain` reads, and the fields of log lines
history         events -> entries of the history -> their views
check_views     what `check` prints

And the stored form of the state, as MessagePack:

state           State, and the stopped deployments  <-> bytes
state_document  the structs of the stored form
slo_document    those of the memory of the policy `slo`
"""
