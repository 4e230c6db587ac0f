"""Load from other sources, made into files of intervals.

prometheus       from the HTTP API of Prometheus, and of what has the same API
elasticsearch    from metrics in Elasticsearch, as `/_otlp` stores them
csv_files        from files of request counts
output           the lines, collected and written, with what the source does not have
own_metrics      the metrics of this program -> intervals
counts           numbers of requests, of any metric -> intervals
totals           intervals of deployments without metrics by node
observations     readings -> observations of deployments
readings         values of this program's metrics by their instants
range_queries    queries over a long period, a part at a time
http_client      requests, and what can be wrong with responses
period           the time from which load is imported
"""
