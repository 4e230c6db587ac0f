"""Scales Elasticsearch trained-model deployments with their load, and says why.

core          decides; pure
wire          Elasticsearch's JSON, both ways
ports         what the control loop needs from the world
config        config.toml -> settled values
control_loop  one cycle: observe, plan, act, record
adapters      the world: Elasticsearch, Prometheus, logs, HTTP
simulation    a cluster that is not there: workload, plant, emulator
daemon        puts the parts together
cli           run, check, demo, emulate
"""

__version__ = "0.1.0"
