"""A deterministic simulation of daemons, network and cluster in virtual time, with faults.

Everything follows from one seed: the cluster, the rules, the load, the faults and their instants.
The daemon is the unmodified `ClusterController`, down to the bytes of each request; the network
below its HTTP client and the clock are simulated, and the cluster is the emulated one.

    make chaos SEED=7           run one seed, and shrink its schedule of faults if it fails
    make chaos SEEDS=1000       run as many new seeds
    make chaos SEEDS=9 SEVERAL=1    the same with several processes, of which one acts

settings      what a seed draws: the cluster, the rules, the load
schedule      the faults of a seed, with their instants, as data
network       requests and responses, and what happens to them on the way
damage        damaged statistics
events        what other clients, operators and hardware do to the cluster and the daemon
trace         what happened: cycles and requests
expected      the threads that deployments can be expected to have
invariants    what must hold after each cycle, and at the end
laboratory    one run of a seed
shrinking     the smallest schedule that still fails

Several processes, on the same cluster with the same network:

processes         processes on one event loop, which are suspended and killed
members           the daemon of one process: its clock, its network, its store
group_schedule    what a seed draws for them
group_invariants  what must hold of all of them together
group             one run of a seed
"""
