"""How runs are scored, compared, stored and shown.

rows        ResultRow, Timeline, Trial: the result of one run
scoring     outcomes, allocation spans  -> the figures of a row
comparison  rows                        -> Aggregate, Frontier  over seeds, over settings
summary     aggregates                  -> Summary              over pairs of trace and scenario
file        rows                        -> JSON file, and back
table       rows                        -> tables on a terminal
report      trials                      -> one HTML page; `page/` has its scripts
"""
