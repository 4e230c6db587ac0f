"""Print docs/configuration.md, the reference of the configuration, from its schema.

`python tools/configuration_page.py > docs/configuration.md`
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[1] / "deploy/config.schema.json"

Schema = dict[str, Any]

INTRODUCTION = """\
# Configuration

Every key of the configuration, from its [schema](../deploy/config.schema.json).
[config.example.toml](../config.example.toml) has the same keys with the reason for each.
[Changing the configuration](operations.md#changing-the-configuration) says which changes take
effect at once.

- **A duration** is a string with its unit: `"250ms"`, `"30s"`, `"1h30m"`.
- **A file** is a path. A relative one starts from the directory of the configuration.
- **In the environment**, which overrides the file, a key is `AUTOSCALER_` and its name in capitals,
  with two underscores after the name of a table: `AUTOSCALER_POLL_INTERVAL=5s`,
  `AUTOSCALER_SERVER__PORT=9000`. Lists of tables are JSON.
- **No default** means none, or the one that the description names.
- **A pattern** is for a whole id; `*` stands for any text.
- **An unknown key** or a value out of its range is an error. All errors are reported at once, and a
  running daemon keeps what it has.

An editor that knows the schema completes keys and marks errors: the first line of the example,
`#:schema`, names it.

## Examples

```toml
[elasticsearch]
hosts = ["https://es-1:9200", "https://es-2:9200"]
api_key_file = "/run/secrets/autoscaler/api_key"

[defaults]
max_allocations = 8

[[rules]]                               # the first rule that matches applies
name = "experiments"
deployments = ["test-*"]
exclude = true

[[rules]]
name = "search"
deployments = ["*-search"]
slo = { latency = "250ms", target = 0.95 }

[[rules]]
name = "all others"                     # 99% wait at most two service times
```

```toml
[[rules]]
name = "adaptive allocations"           # the policy sets their minimum
deployments = ["reranker"]
mode = "bounds"
on_exit = "adaptive"                    # without the daemon, they scale between 1 and 8
scale_to_zero = { after = "30m", via = "adaptive" }
```

The default policy is `slo`. `policy = "utilisation"` instead keeps a fixed fraction of the
allocations busy, regardless of queue waits.
"""


def page(schema: Schema) -> str:
    """The whole document."""
    tables = schema["$defs"]
    titles = _titles(schema)
    defaults = tables["ScalingTable"]["properties"]
    own = {
        key: field
        for key, field in tables["RuleTable"]["properties"].items()
        if key not in defaults
    }
    top = {
        key: field
        for key, field in schema["properties"].items()
        if key != "rules" and not _references(field)
    }
    rules = tables["RuleTable"] | {"properties": own}
    sections = [INTRODUCTION, "## At the top\n", _table({"properties": top}, titles)]
    for name, title in titles.items():
        table = rules if name == "RuleTable" else tables[name]
        sections += [
            f"## `{title}`\n",
            f"{table['description']}\n",
            _table(table, titles),
        ]
        if name == "RuleTable":
            sections.append("A rule may have every key of [`[defaults]`](#defaults) as well.\n")
    return "\n".join(sections)


def _titles(schema: Schema) -> dict[str, str]:
    """The name of each table in TOML, by its name in the schema. Those of the defaults are also
    those of the rules."""
    found: dict[str, str] = {}
    waiting = [("", schema)]
    for prefix, table in waiting:
        for key, field in table["properties"].items():
            for name in _references(field):
                if name not in found:
                    several = field.get("type") == "array"
                    path = f"{prefix}{key}"
                    found[name] = f"[[{path}]]" if several else f"[{path}]"
                    waiting.append((f"{path}.", schema["$defs"][name]))
    return found


def _references(field: Schema) -> list[str]:
    """The tables that a field may contain."""
    options = [field, field.get("items", {}), *field.get("anyOf", [])]
    return [each["$ref"].rpartition("/")[2] for each in options if "$ref" in each]


def _table(table: Schema, titles: dict[str, str]) -> str:
    rows = ["| key | value | default | |", "| --- | --- | --- | --- |"]
    for key, field in table["properties"].items():
        default = "required" if key in table.get("required", ()) else _default(field)
        cells = (f"`{key}`", _kind(field, titles), default, field["description"])
        rows.append("".join(f"| {_cell(cell)} " for cell in cells) + "|")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None:
        return ""
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _kind(field: Schema, titles: dict[str, str]) -> str:
    """What may be written, in words."""
    if "anyOf" in field:
        kinds = [_kind(each, titles) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in field:
        (name,) = _references(field)
        return f"[table](#{re.sub(r'[^a-z_]', '', titles[name])})"
    if "enum" in field:
        return " or ".join(f'`"{value}"`' for value in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    match field["type"]:
        case "array":
            items = _kind(field["items"], titles)
            return items if items.startswith("[") else f"list of {items}s"
        case "string" if field.get("pattern", "").endswith("{1,5}$"):
            return "duration"
        case "string":
            return "string"
        case "object":
            return "table"
        case kind:
            return ("number" if kind == "number" else kind) + _range(field)


def _range(field: Schema) -> str:
    lowest, highest = field.get("minimum"), field.get("maximum")
    if lowest is not None and highest is not None:
        return f", {_number(lowest)} to {_number(highest)}"
    if lowest is not None:
        return f", at least {_number(lowest)}"
    if highest is not None and (above := field.get("exclusiveMinimum")) is not None:
        return f", above {_number(above)} to {_number(highest)}"
    return ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(SCHEMA.read_text())))
