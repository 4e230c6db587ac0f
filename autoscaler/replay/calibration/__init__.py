"""The assumptions of a simulation, fitted to a record, as scenarios of the back-test.

files   a scenario and a trace of each deployment
table   what was fitted, on a terminal
fits    service times, nodes, starts and queues, and which assumptions fail
"""
