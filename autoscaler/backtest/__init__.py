"""Back-tests: any policy on any load, in virtual time.

world         the simulated deployment and the load on it
baselines     other autoscalers, as policies
oracle        the schedule of a scheduler that knows all requests in advance
results       rows, comparisons, the terminal table and the report
scenarios     the standard scenarios, TOML files

policy_specs  a name, a setting        -> PolicySpec     the policies that can be tried
drivers       plant, policy            -> changes        a policy, or the cluster, in a run
bounds_driver plant, policy            -> changes        control mode `bounds`
trial         policy, workload         -> Trial          one run, scored
batch         tasks                    -> Batch          many runs, on all cores
command       options                  -> exit status    `autoscaler backtest`
"""
