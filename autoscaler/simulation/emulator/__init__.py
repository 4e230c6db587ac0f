"""The emulator: a simulated cluster behind the part of Elasticsearch's REST API for scaling.

    faults, filtering, media_types   faults and how often they occur; filter_path; media types
    responses, parameters, bodies    responses as bytes; strict parsing of parameters and bodies
    matching, security               ids and wildcards; credentials, roles and privileges
    documents                        indices of documents, and conditions of writes
    disruption                       faults that replace a response or end a connection
    cluster_settings                 the settings of the cluster, and what they do
    emulation                        the cluster, its clock, faults, loads and inference endpoints
    calls                            an endpoint, and a call of it
    serverless                       the differences on serverless
    rendering                        the simulated cluster as Elasticsearch's JSON
    admin, admin_inference           /_emulator: faults, loads, nodes, conditions, endpoints
    *_endpoints                      the endpoints of Elasticsearch, by subject
    building                         a scenario -> an emulation
    application                      a request -> a call of an endpoint -> a response
    server                           an emulation at an address

Each module imports only those above it.
"""
