"""What an operator does by hand: start and stop deployments, wake them, hand them back.

connecting  the cluster, for as long as one command takes
starting    start a deployment, and wait for it
progress    how far a start has come, for people
stopping    stop a deployment
waking      have the daemon start a deployment again that it has stopped
releasing   leave deployments safe without a daemon
"""
