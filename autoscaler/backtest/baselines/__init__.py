"""The autoscalers that people know, as policies for allocations: how each of them would decide.

    peer             what a laboratory needs to run one, and the past that some learn from
    sizing           utilisation, and rounding up
    window           the last samples and their mean
    stabilisation    moving only as far as all recent recommendations agree
    season           days and weeks of load, and what they promise for now

    hpa              Kubernetes' horizontal pod autoscaler, and its parts
    keda             the same on requests in flight, and to zero
    kpa              Knative's, with its panic
    ray_serve        Ray Serve's, with its delays
    aws              target tracking, and with predictive scaling
    gcp              a managed instance group, predictive
    predictive_hpa   the horizontal pod autoscaler on forecasts of its own counts
    threshold        one more, one fewer
    static           a number for ever
    perfect_now      what measuring without flaw would be worth

Each is written from a description of what it does, with the defaults that it is shipped with
where there are some. What an autoscaler calls a replica, pod, instance or machine is an allocation
here; what it calls CPU utilisation is the part of their time that allocations are busy.
"""
