"""Elasticsearch, from the address of a host to an Observer and an Actuator.

    errors           what can go wrong, as a tree
    refusals         the part of the tree that Elasticsearch itself answers
    connection       settings: where the cluster is, and how to be let in
    error_catalogue  which answer means which refusal
    failures         which exception of the HTTP library means which error
    credentials      secrets -> the Authorization header, renewed when it is refused
    hosts            which host to ask next
    tls              whom to trust
    transport        one request, repeated elsewhere and later where that is harmless
    api              one method per endpoint
    capacity         three descriptions of the nodes -> one
    meanings         errors -> what they mean to the control loop
    ownership        which deployments belong to inference endpoints
    changes          a change -> one request, or as many as it takes to find the right one
    cluster          the ports
    findings         what the next one has found
    preflight        is everything as it must be?

Each module imports only those above it.
"""
