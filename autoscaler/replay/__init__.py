"""What policies would have done with a recorded load, beside what really ran.

results      what a replay found
"""
