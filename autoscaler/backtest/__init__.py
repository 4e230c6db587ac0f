"""Back-tests: any policy on any load, in virtual time.

command          options                 -> exit status    `autoscaler backtest`
options          the command line        -> BacktestOptions, scenarios, policies, a rule
tasks            options, traces         -> Task           the runs, for several processes
batch            tasks, executors        -> Batch          many runs
executors        the option --executor   -> Executors      processes, or workers of Dask
resumption       tasks, finished runs    -> Batch          what has not been run yet
finished_runs    a file                  -> results        of runs, by key
program          this installation       -> Program        what results depend on, beside a task
progress         finished tasks          -> a bar, lines   with the remaining time
trial            policy, workload        -> Trial          one run, scored
policy_specs     a name                  -> PolicySpec     the policies that can be run
configured_rule  a configuration file    -> rule           a rule of the operator, as a policy
drivers          plant, policy           -> changes        the polls and updates of a run
bounds_driver    plant, policy           -> changes        the same in mode `bounds`

configuration_text
                 setting, scenario       -> TOML           how to configure a setting
oracle           every request           -> Plant          the cheapest schedule found
baselines        Situation               -> Step           other autoscalers, as policies
world            scenario, trace, seed   -> Plant          the simulated deployment, its load
results          rows                    -> tables, page   scored, compared, stored and shown
scenarios        TOML files              -> scenario       the standard scenarios
"""
