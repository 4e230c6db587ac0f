"""Elasticsearch's JSON, both ways: the client reads what the emulator renders.

stats        trained-model statistics  <-> Observation
deployments  bodies and answers of _start, _update, _stop and _infer
cluster      /, _nodes, _ml/info, _ml/memory/_stats, _license, _security
errors       the error envelope
"""
