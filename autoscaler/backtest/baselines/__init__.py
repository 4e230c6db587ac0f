"""Other autoscalers, reimplemented as policies for comparison.

    baseline          what a baseline needs beyond a policy, and the load history some learn from
    sizing            utilisation, and rounding up
    window            the last samples and their mean
    stabilisation     the stabilisation window: the extreme of the recent recommendations
    seasonal_history  load by time of day and week, and the peak expected from it
    forecasts         forecasts of an allocation count from its past: linear, Holt-Winters

    hpa               Kubernetes' horizontal pod autoscaler
    keda              KEDA: the same on in-flight requests, with scale to zero
    kpa               Knative's pod autoscaler, with its panic window
    ray_serve         Ray Serve, with its delays
    aws               target tracking, with and without predictive scaling
    gcp               a managed instance group with predictive autoscaling
    predictive_hpa    the horizontal pod autoscaler on forecasts of its recommendations
    threshold         one allocation more or fewer when a threshold is exceeded
    static            a fixed number of allocations

Each follows a description of the autoscaler and has its default settings where there are some.
What an autoscaler calls a replica, pod, instance or machine is an allocation here; what it calls
CPU utilisation is the fraction of time for which the allocations are busy.
"""
