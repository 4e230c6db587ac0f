"""Print the schema: `python -m autoscaler.config > deploy/config.schema.json`.

Two files follow from it: `python tools/configuration_page.py > docs/configuration.md`, and the
values of the chart, `WRITE_EXPECTED=1 pytest tests/deploy/test_chart.py`.
"""

import json
import sys

from autoscaler.config.document import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
