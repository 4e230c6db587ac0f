"""What a replay found, for people: on a terminal, as one HTML file, and as Markdown.

table      on a terminal
markdown   Markdown
html       the page; its template and style are in `page`
charts     SVG
costs      what a month would cost
lines      the policies of a deployment as lines of a table
sentences  verdicts and notes
figures    values with intervals, and differences in words
"""
