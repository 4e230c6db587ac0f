"""The simulated deployment and the load on it.

scenario_document  a TOML file              -> ScenarioDocument  its keys, validated
scenario           name or file             -> BacktestScenario  deployment, nodes, callers
scenario_text      scenario                 -> texts             the scenario for readers
generators         name, seed               -> Trace             synthetic traces
traces             arguments                -> TraceSource       traces by name
workload           trace, scenario, seed    -> Workload          every request of one run
kernel             arrays of requests       -> arrays            the processes, compiled
fleet              workload                 -> Fleet             the processes of one deployment
statistics         deployment               -> DeploymentStats   what the daemon reads
plant              scenario, workload       -> Plant             the simulated deployment
"""
