"""What tests of messages have in common."""

import re


def without_lines(text: str) -> str:
    """Messages about a file without the line, which `test_config.py` tests."""
    return re.sub(r"(\.toml):\d+: ", r"\1: ", text)
