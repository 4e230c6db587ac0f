"""Where the tasks of a batch run. `batch` knows `concurrent.futures.Executor` only.

chosen       the option --executor   -> Executors
local        processes of this machine, or this process
dask         the workers of a Dask scheduler; the only module that imports `distributed`
comparison   workers                 -> why one of them cannot be used
"""
