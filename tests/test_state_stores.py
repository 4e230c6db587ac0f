"""The configured store of the state."""

import structlog

from autoscaler.config import load
from autoscaler.state_stores import state_store_of
from tests.fakes import FakeClock

CONFIG = """
state_dir = "{directory}/state"
[elasticsearch]
hosts = ["http://127.0.0.1:9"]
[leadership]
lease = "file"
file = "{directory}/lease"
[[rules]]
name = "all"
max_allocations = 8
"""


async def test_an_empty_directory_of_one_of_several_instances_is_no_first_start(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(directory=tmp_path))
    log = structlog.wrap_logger(structlog.ReturnLogger())
    store = state_store_of(load(path, {}), FakeClock(1_000.0), log, None, writer="one")
    assert not (await store.open(())).is_first_start
    await store.close()
