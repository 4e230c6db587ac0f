"""Elasticsearch's JSON, both ways: the client reads what the emulator renders.

stats        trained-model statistics  <-> Observation
deployments  bodies and responses of _start, _update, _stop and _infer
inference    inference endpoints
cluster      /, _nodes, _ml/info, _ml/memory/_stats, _license, _security
errors       the error envelope

And the stored form of the state, as MessagePack:

state           State, and the stopped deployments  <-> bytes
state_document  the structs of the stored form
"""
