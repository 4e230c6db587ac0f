"""How runs are scored, compared, stored and shown.

rows        ResultRow, Timeline, Trial: the result of one run
scoring     outcomes, allocation spans  -> the figures of a row
comparison  rows                        -> Aggregate, Frontier  over seeds, over settings
summary     aggregates                  -> Summary              over pairs of trace and scenario
cases       rows                        -> SettingCases         in each case: one day, one seed
choice      rows, usable settings       -> Choice               the cheapest that always met the SLO
choice_text choice                      -> table, sentences     the same in words
file        rows, choices               -> JSON file, and back
table, choice_table                     -> tables on a terminal
choice_markdown                         -> the choice as Markdown
report      trials                      -> one HTML page; `page/` has its scripts
"""
