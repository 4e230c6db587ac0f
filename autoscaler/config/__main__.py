"""Print the schema: `python -m autoscaler.config > deploy/config.schema.json`.

The values of the chart contain it: `WRITE_EXPECTED=1 pytest tests/deploy/test_chart.py`, too.
"""

import json
import sys

from autoscaler.config.document import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
