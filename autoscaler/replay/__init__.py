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
results      what a replay found
"""
