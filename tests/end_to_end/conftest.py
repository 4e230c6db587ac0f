"""What all end-to-end tests share: a log that no earlier test has configured."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def default_logging() -> None:
    structlog.reset_defaults()
