"""What policies would have done with a recorded load, beside what really ran.

command      all deployments of a source, in worker processes
resuming     finished deployments, which are not simulated again
outputs      the files that a replay writes
calibration  fitted assumptions, as scenarios
presentation on a terminal, as a page and as Markdown
source       where the load is read from
results_file results as JSON
moments      the hours in which the operator's rule would have made the most difference
advice       what to change in a rule
totals       all deployments together, and what a month would use
engine       the tasks of a replay, one for each deployment
judge        values of policies and of what really ran, with intervals
runs         policies on the draws of a record, by hour
comparison   what really ran, simulated, beside what was observed
recorded_run the recorded allocations on the simulated deployment
setting      the nodes, times and limits of the simulation, and what was assumed
checks       assumptions that a record contradicts
matching     the dispersion with which the simulated queues are like the recorded ones
load         requests like those of a record
service_times, dispersion, estimates
             what is measured, and how sure it is
record       the intervals of one deployment as arrays
results      what a replay found
"""
