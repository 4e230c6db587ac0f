"""The Elasticsearch adapter: an Observer and an Actuator over HTTP.

    errors            the errors, as a tree
    preflight_report  what the preflight found
    nodes             three descriptions of the nodes -> one
    server_version    what the server guards, and lists, by version
    api_errors        the errors for which Elasticsearch itself refuses a request
    transport_errors  exceptions of the HTTP library -> errors
    observed_ids      which deployments are observed, where there are very many
    confirmation      whether the body of a 200 confirms a change
    identity          which cluster responds, once that is certain
    hung_hosts        a host that hangs, or a cluster that is slow?
    hosts             the host for the next request
    credentials       secrets -> the Authorization header, renewed after a 401
    error_rules       error responses -> errors
    error_mapping     errors -> outcomes and failure kinds of the control loop
    tls               the TLS contexts
    transport         one request, repeated later or on another host where that is safe
    api               one method per endpoint
    index_privileges  which privileges for an index are missing
    documents         documents of an index, and their versions
    lease             which instance leads
    state_documents   the saved state
    ownership         which deployments inference endpoints own or use, as far as is known
    pipelines         whether an ingest pipeline uses a deployment
    changes           a change -> one request, or several
    cluster           the ports
    preflight         are all requirements of the daemon met?
    preflight_changes the differences between two checks

Each module imports only those above it.
"""
