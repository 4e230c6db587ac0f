"""Print the schema: `python -m autoscaler.config > deploy/config.schema.json`."""

import json
import sys

from autoscaler.config.document import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
