"""The state as bytes: complete, guarded by golden files, and harmless where it cannot be read."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.core.decision import Setting
from autoscaler.core.installed_policy import InstalledPolicy
from autoscaler.core.instructions import Instructions
from autoscaler.core.policies import MemoryFormat, UtilisationPolicy
from autoscaler.core.slo.memory import SloMemory
from autoscaler.core.slo.policy import SloPolicy
from autoscaler.core.state import DeploymentState, PolicyMemory, State
from autoscaler.core.values import Value
from autoscaler.wire.slo_document import StoredSloMemory
from autoscaler.wire.state import (
    STATE_VERSION,
    AnotherDocument,
    Damaged,
    UnknownVersion,
    decode_state,
    decode_stopped,
    encode_state,
    encode_stopped,
)
from autoscaler.wire.state_document import StoredState
from tests.states import (
    DEPLOYMENT,
    MEMORY,
    STORED_AS,
    UNSAVED,
    WHOLE,
    any_slo_memory,
    any_struct,
    hints,
    same,
)

DATA = Path(__file__).parents[1] / "data"
POLICIES = (SloPolicy(), UtilisationPolicy(target=0.7, load_window_s=60.0))


def golden(name):
    return bytes.fromhex((DATA / name).read_text())


def hexadecimal(content):
    return "".join(f"{content[at : at + 32].hex()}\n" for at in range(0, len(content), 32))


def with_memory(memory):
    return State(deployments={"elser": replace(DEPLOYMENT, memory=memory)})


class TestAnotherDocument:
    """Each document has a version of its own, so the kind is compared first."""

    def test_the_stopped_deployments_are_not_a_state_of_another_version(self):
        decoded = decode_state(golden("stopped-2.hex"))
        assert decoded.state == State()
        (message,) = decoded.messages
        assert message == (
            "starting without the stored state: it is another document, "
            "'autoscaler stopped deployments' instead of 'autoscaler state'"
        )

    def test_the_state_is_not_a_version_of_the_stopped_deployments(self):
        with pytest.raises(AnotherDocument) as raised:
            decode_stopped(golden("state-1.hex"))
        assert str(raised.value) == (
            "another document, 'autoscaler state' instead of 'autoscaler stopped deployments'"
        )

    def test_another_version_of_the_same_document_is_reported_as_such(self):
        content = golden("stopped-3.hex").replace(b"\xa7version\x03", b"\xa7version\x09")
        with pytest.raises(UnknownVersion, match=r"version 9, .* versions 1, 2 and 3"):
            decode_stopped(content)


class TestGoldenFiles:
    """If one of these fails, existing files can no longer be read, or have another meaning."""

    @staticmethod
    def without(state=WHOLE, **fields):
        """The state with these fields of its deployments as if they had not been stored."""
        known = {id_: replace(each, **fields) for id_, each in state.deployments.items()}
        return replace(state, deployments=known)

    def without_shadows(self):
        return self.without(
            replace(WHOLE, rollouts={}, is_first_start=False), shadow=None, recent_updates=0
        )

    def test_the_state_of_version_1_is_decoded(self):
        """It does not say whether the daemon began without a state, so that nothing is held."""
        decoded = decode_state(golden("state-1.hex"), POLICIES)
        assert decoded.messages == ()
        assert same(decoded.state, replace(self.without_shadows(), cold_start_s=None))

    def test_the_state_of_version_2_is_decoded(self):
        """It has no shadows: those of dry runs begin with the next poll."""
        decoded = decode_state(golden("state-2.hex"), POLICIES)
        assert decoded.messages == ()
        assert same(decoded.state, self.without_shadows())

    def test_the_state_of_version_3_is_decoded(self):
        """Its rollouts keep their verdicts, and learn with the next poll when their deployments
        were created. Updates are counted from the next on."""
        decoded = decode_state(golden("state-3.hex"), POLICIES)
        assert decoded.messages == ()
        rollouts = {id_: replace(each, created_at=None) for id_, each in WHOLE.rollouts.items()}
        expected = replace(WHOLE, rollouts=rollouts, is_first_start=False)
        assert same(decoded.state, self.without(expected, recent_updates=0))

    def test_the_state_of_version_4_is_decoded(self):
        decoded = decode_state(golden("state-4.hex"), POLICIES)
        assert decoded.messages == ()
        assert same(decoded.state, WHOLE)

    def test_the_state_is_encoded_as_version_4(self):
        assert STATE_VERSION == 4
        assert hexadecimal(encode_state(WHOLE).content) == (DATA / "state-4.hex").read_text()

    def test_the_stopped_deployments_of_version_2_are_decoded(self):
        """They do not have the memory that processes use, which is unknown then."""
        unmeasured = {
            name: replace(
                each,
                stats=replace(
                    each.stats, runtime_memory_bytes=None, peak_runtime_memory_bytes=None
                ),
            )
            for name, each in WHOLE.stopped.items()
        }
        assert decode_stopped(golden("stopped-2.hex")) == unmeasured

    def test_the_stopped_deployments_of_version_3_are_decoded(self):
        assert decode_stopped(golden("stopped-3.hex")) == WHOLE.stopped

    def test_the_stopped_deployments_are_encoded_as_version_3(self):
        assert hexadecimal(encode_stopped(WHOLE.stopped)) == (DATA / "stopped-3.hex").read_text()


APART = {(State, "instructions"), *UNSAVED}
"""Fields of the core that have a document of their own, or begin again with each process."""


class TestCompleteness:
    @staticmethod
    def pairs():
        """Each stored struct with the value of the core that it stores."""
        found, waiting = {}, [(StoredState, State), (StoredSloMemory, SloMemory)]
        while waiting:
            stored, core = waiting.pop()
            if stored in found:
                continue
            found[stored] = core
            for name in set(stored.__struct_fields__) & set(core.__struct_fields__):
                inner = [
                    [
                        each
                        for each in types_in(hints(side)[name])
                        if issubclass(each, msgspec.Struct)
                    ]
                    for side in (stored, core)
                ]
                waiting += zip(*inner, strict=True)
        return found

    def test_every_field_of_the_core_is_stored(self):
        """A field added to the core needs a new version of the document."""
        pairs = self.pairs()
        assert len(pairs) > 20
        for stored, core in pairs.items():
            fields = [
                STORED_AS.get((core, name), name)
                for name in core.__struct_fields__
                if (core, name) not in APART
            ]
            assert list(stored.__struct_fields__) == fields, (stored, core)

    def test_no_stored_field_has_a_default(self):
        assert {stored for stored in self.pairs() if stored.__struct_defaults__} == set()

    def test_the_golden_state_leaves_no_field_at_its_default(self):
        def unset(value):
            # The defaults of a `Setting` are what one of its two forms means.
            if isinstance(value, msgspec.Struct) and not isinstance(value, Setting):
                count = len(value.__struct_defaults__)
                names = value.__struct_fields__[len(value.__struct_fields__) - count :]
                for name, default in zip(names, value.__struct_defaults__, strict=True):
                    if getattr(value, name) == default and (type(value), name) not in UNSAVED:
                        yield type(value).__name__, name
                for name in value.__struct_fields__:
                    yield from unset(getattr(value, name))

        assert list(unset(DEPLOYMENT)) == []


def types_in(hint):
    """The classes that occur in a type, in order."""
    arguments = getattr(hint, "__args__", None)
    if arguments is None:
        return [hint] if isinstance(hint, type) else []
    return [each for argument in arguments for each in types_in(argument)]


class TestAnyState:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(any_struct(State))
    def test_it_is_decoded_as_it_was(self, state):
        encoded = encode_state(state)
        decoded = decode_state(encoded.content, POLICIES)
        assert (encoded.messages, decoded.messages) == ((), ())
        assert same(decoded.state, replace(state, instructions=Instructions()))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(any_slo_memory())
    def test_so_is_the_memory_of_the_default_policy(self, memory):
        state = with_memory(PolicyMemory("slo", 3, memory))
        assert same(decode_state(encode_state(state).content).state, state)

    def test_an_empty_one_too(self):
        assert decode_state(encode_state(State()).content).state == State()

    def test_it_is_encoded_to_the_same_bytes_after_decoding(self):
        content = encode_state(WHOLE).content
        assert encode_state(decode_state(content, POLICIES).state).content == content


class TestUnreadable:
    def test_an_unknown_version_starts_without_state_and_says_so(self):
        content = msgspec.msgpack.encode({"document": "autoscaler state", "version": 9, "x": 1})
        decoded = decode_state(content, POLICIES)
        assert decoded.state == State()
        (message,) = decoded.messages
        assert message == (
            "starting without the stored state: it is of version 9, and this program reads "
            "versions 1, 2, 3 and 4"
        )

    @pytest.mark.parametrize(
        "content", [b"", b"\xc1", b"{}", b"\x93\x01\x02\x03", b"\x91" * 100_000, b"\x80"]
    )
    def test_so_does_damage(self, content):
        decoded = decode_state(content)
        assert decoded.state == State()
        (message,) = decoded.messages
        assert message.startswith("starting without the stored state: it is damaged: ")

    @given(st.data())
    def test_so_does_a_part_of_it(self, data):
        content = encode_state(WHOLE).content
        length = data.draw(st.integers(0, len(content) - 1))
        assert decode_state(content[:length]).state == State()

    @given(st.binary(max_size=50))
    def test_any_bytes_at_all(self, content):
        assert decode_state(content).messages
        with pytest.raises(Damaged):
            decode_stopped(content)


class Peak(Value, frozen=True):
    """The memory of an installed policy."""

    at: float
    load: float


class Strange:
    """Something that msgspec cannot encode."""


def installed(memory_type, version, name="guest"):
    memory_format = None if memory_type is None else MemoryFormat(memory_type, version)
    return InstalledPolicy(
        name=name,
        source="guest:make of guest 1.0",
        options={},
        load_window_s=60.0,
        memory_format=memory_format,
        policy=SloPolicy(),
    )


class TestMemoryOfInstalledPolicies:
    STATE = replace(
        with_memory(PolicyMemory("guest", 2, Peak(1.0, float("inf")))), capacity=WHOLE.capacity
    )

    def dropped(self, *policies, state=STATE):
        """The message, when only the memory is missing afterwards."""
        decoded = decode_state(encode_state(state).content, policies)
        memoryless = replace(DEPLOYMENT, memory=None)
        assert decoded.state == replace(state, deployments={"elser": memoryless})
        (message,) = decoded.messages
        return message

    def test_it_is_decoded_by_its_type(self):
        decoded = decode_state(encode_state(self.STATE).content, [installed(Peak | None, 2)])
        assert decoded == decode_state(encode_state(self.STATE).content, [installed(Peak, 2)])
        assert decoded.state == self.STATE

    def test_an_unknown_policy_begins_again_for_that_deployment_only(self):
        other = replace(DEPLOYMENT, memory=PolicyMemory("slo", 3, SloMemory()))
        state = replace(self.STATE, deployments={**self.STATE.deployments, "e5": other})
        decoded = decode_state(encode_state(state).content)
        assert decoded.state.deployments["e5"] == other
        assert decoded.state.deployments["elser"] == replace(DEPLOYMENT, memory=None)
        (message,) = decoded.messages
        assert message == (
            "elser: starting without the stored memory of its policy: policy 'guest' is not in "
            "use, or its memory is not stored"
        )

    def test_so_does_another_version(self):
        assert self.dropped(installed(Peak, 3)).endswith(
            "it is of version 2, and policy 'guest' reads version 3"
        )

    def test_so_does_a_policy_whose_memory_is_no_longer_stored(self):
        assert "its memory is not stored" in self.dropped(installed(None, 0))

    def test_so_does_a_type_that_does_not_fit(self):
        assert "it is damaged: Expected `int`" in self.dropped(installed(int, 2))

    def test_so_does_the_default_policy_of_another_version(self):
        state = with_memory(PolicyMemory("slo", 3, MEMORY))
        content = encode_state(state).content.replace(
            b"\xa6policy\xa3slo\xa7version\x03", b"\xa6policy\xa3slo\xa7version\x07"
        )
        decoded = decode_state(content, POLICIES)
        assert decoded.messages[0].endswith("version 7 of policy 'slo' is not known")
        assert decoded.state.deployments["elser"].memory is None

    def test_without_a_format_it_is_not_stored(self):
        encoded = encode_state(with_memory(PolicyMemory("guest", None, Strange())))
        assert encoded.messages == ()
        assert decode_state(encoded.content) == decode_state(
            encode_state(with_memory(None)).content
        )

    def test_if_it_cannot_be_encoded_it_is_left_out_and_reported(self):
        encoded = encode_state(with_memory(PolicyMemory("guest", 1, Strange())))
        (message,) = encoded.messages
        assert message.startswith("elser: the memory of its policy is not stored: Encoding objects")
        assert decode_state(encoded.content).state == with_memory(None)

    def test_a_deployment_without_memory(self):
        state = State(
            deployments={
                "e5": DeploymentState(seen_at=1.0, baseline=DEPLOYMENT.baseline, baseline_at=1.0)
            }
        )
        assert decode_state(encode_state(state).content).state == state
