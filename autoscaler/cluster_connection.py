"""The HTTP client of a configured cluster."""

import random

from autoscaler.adapters.elasticsearch.transport import Transport
from autoscaler.config import Config
from autoscaler.ports import Clock


def transport_to(config: Config, clock: Clock) -> Transport:
    """The HTTP client of the configured cluster.

    Raises:
        ConnectionSettingsError: the connection settings are not usable.
    """
    return Transport(config.connection, clock, random.Random())
