"""An Elasticsearch cluster that is not there, behind the part of its REST API that scaling needs.

server         a scenario at an address
building       a scenario -> an emulation
application    a request -> a call of an endpoint -> an answer; what is the same for all
calls          what an endpoint is, and what it is called with
*_endpoints    cluster, nodes, models, deployments, inferences, security: what is served
admin          /_emulator: faults, loads, nodes, conditions; admin_inference: endpoints
emulation      the cluster, the clock it lives by, and what is wrong with it
rendering      the simulated cluster as Elasticsearch's JSON
serverless     what of all that is different there
loads faults matching filtering security media_types parameters bodies answers disruption
"""
