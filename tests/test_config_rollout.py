"""The hours of a gradual rollout, as they are written."""

import pytest

from autoscaler.config.rollout import hours_of


@pytest.mark.parametrize("span", ["0\u0669:00-17:00", "09:00-1\u0667:00"])
def test_digits_of_other_scripts_are_refused_as_by_the_schema(span):
    with pytest.raises(ValueError, match="must be a span of whole hours"):
        hours_of(span)
