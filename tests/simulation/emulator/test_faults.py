from autoscaler.simulation.emulator.faults import Fault, Faults


def test_a_fault_applies_to_the_given_number_of_calls():
    faults = Faults()
    faults.add(Fault(path="*/_update", calls=2, status=503))
    struck = [faults.strike("POST", "/_ml/trained_models/a/deployment/_update") for _ in range(3)]
    assert [fault is not None for fault in struck] == [True, True, False]
    assert faults.active == ()


def test_a_fault_without_calls_applies_until_it_is_removed():
    faults = Faults()
    faults.add(Fault(calls=None, status=502))
    assert all(faults.strike("GET", "/") for _ in range(10))
    faults.clear()
    assert faults.strike("GET", "/") is None


def test_a_fault_applies_to_matching_requests_only():
    faults = Faults()
    faults.add(Fault(method="POST", path="/a*", status=500))
    assert faults.strike("GET", "/abc") is None
    assert faults.strike("POST", "/b") is None
    assert faults.strike("POST", "/abc") is not None


def test_the_first_of_several_faults_applies():
    faults = Faults()
    faults.add(Fault(status=500))
    faults.add(Fault(status=501))
    assert [faults.strike("GET", "/").status for _ in range(2)] == [500, 501]


def test_a_node_is_missing_from_the_given_number_of_responses():
    faults = Faults()
    faults.swallow("n1", 2)
    faults.swallow("n2", None)
    assert [faults.missing_nodes() for _ in range(3)] == [{"n1", "n2"}, {"n1", "n2"}, {"n2"}]
    assert faults.swallowed == {"n2": None}


def test_swallowing_0_responses_ends_it():
    faults = Faults()
    faults.swallow("n1", None)
    faults.swallow("n1", 0)
    assert faults.missing_nodes() == frozenset()
