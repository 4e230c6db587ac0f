"""The policy `slo`, the default: meets the SLO at the lowest cost.

believed_times     samples            -> timed requests       without odd ones
service_time       timed requests     -> ServiceTimeEstimate  service times and their variation
short_counts       short intervals    -> ShortCounts          bursts within seconds
objective          service time       -> seconds              the max queue wait of the SLO
load_distribution  arrival counts     -> LoadDistribution     the load to expect next
load_jump          unexpected counts  -> LoadMixture          the load after a jump
placement          nodes, allocations -> Placement            allocations per node
queueing           load, allocations  -> fraction             late requests
violations         queues             -> late requests        measured, and expected
accounts           late requests      -> attainment, budget   and which of them were preventable
error_budget       late requests      -> violation weight
callers            use                -> seconds              after which callers have given up
backlog            queued requests    -> Backlog              allocations that drain it
cost_model         all of these       -> allocations          those with the lowest cost
choice             all of these       -> allocations          the cheapest, if a change pays
increase           allocations        -> allocations          more than were too few
prediction         samples            -> Prediction           loads, nodes and queues to expect
needs              Prediction         -> allocations          now, and on further nodes
memory             what one deployment has shown so far
policy             the recommendation, and when it is recomputed
"""
