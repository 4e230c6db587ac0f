"""What an operator does with the CLI: start, stop, resume and release deployments.

session   the configured cluster, for the duration of one command
start     start a deployment and wait for it
progress  the progress of a start, as text
stop      stop a deployment
instruct  pauses, overrides and other requests to a running daemon
resume    let the daemon start a deployment that it has stopped
release   leave deployments in a state that is safe without a daemon
"""
