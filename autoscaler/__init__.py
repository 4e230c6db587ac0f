"""Scales Elasticsearch trained-model deployments with their load, and explains each decision.

core                decides; pure
errors              the errors that a user can fix
wire                Elasticsearch's JSON, both ways
ports               the interfaces that the control loop needs
config              config.toml -> plain values
control_loop        one cycle: observe, plan, act, record
adapters            implementations of the ports: Elasticsearch, Prometheus, logs, HTTP
simulation          a simulated cluster: workload, plant, emulator
cluster_controller  what exists once for each cluster
daemon              what exists once for each process
check               what would be managed, and which problems the cluster has
explain             the decisions of a running daemon as text
operate             start, stop, resume and release deployments
demo                the daemon and the emulator, with a live view
backtest            policies and baselines compared over recorded loads
cli                 commands, options, exit codes
"""

__version__ = "0.1.0"
