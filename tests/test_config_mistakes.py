"""Configurations with frequent errors: each has a sentence with the likely fix."""

import pytest

from autoscaler.config import ConfigError, load

CLUSTER = '[elasticsearch]\nhosts = ["http://127.0.0.1:9"]\n'
RULE = '[[rules]]\nname = "all"\nmax_allocations = 8\n'
SECRET = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="


def problems(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path, {})
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


NOT_TOML = {
    "deployments = x-*": 'need quotes: "x-*"',
    'deployments = ["x-*': "a quote is missing",
    "deployments = [x, y]": 'need quotes: "x"',
    'deployments: "x"': "write = instead of : after deployments",
    "poll_interval: 10s": "write = instead of : after poll_interval",
    "poll_interval = 10s": 'need quotes: "10s"',
    'poll_interval = "10s': "a quote is missing",
    "name = 'all": "a quote is missing",
    "name = “all”": "typographic quotes are no quotes",
    "poll_interval = 10s # why": 'need quotes: "10s"',
    'poll_interval "10s"': "= is missing after poll_interval",
    "poll_interval": "= and a value are missing after poll_interval",
    "poll_interval =": "the value of poll_interval is missing after =",
    "dry_run = yes": "a boolean is true or false",
    "dry_run = True": "a boolean is true or false",
    "take_over = on": "a boolean is true or false",
    "[server": "the closing ] is missing: [server]",
    "server]": "the opening [ is missing: [server]",
    "[[rules]": "the closing ]] is missing: [[rules]]",
    "max_allocations = 08": "a number does not begin with 0",
    "max_allocations = 1,000": "write 1000 for 1,000",
    "max_allocations = 8;": "remove the semicolon",
    "max_allocations = 8,": "remove the , at the end of the line",
    'name = "all",': "remove the , at the end of the line",
    "target = .7": "a number needs a digit before and after its point",
    "target = 70%": "write a fraction, such as 0.7 for 70%",
    "slo = { latency = 250ms, target = 0.95 }": "the value of latency is not TOML",
    'slo = { latency: "250ms" }': "write = instead of : after latency",
    'slo = { latency = "250ms"': "a comma or the closing } is missing",
    "slo = {": "a table in { } must be on one line",
    'deployments = ["a" "b"]': "a comma or the closing ] is missing",
    'deployments = ["a", "b"': "a comma or the closing ] is missing",
    "}": "} closes nothing",
    "{": "this is JSON",
    "elasticsearch:": "this is YAML",
    "---": "this is YAML",
    "; why": "a comment begins with #",
    "// why": "a comment begins with #",
    "*": "this is no statement",
    'ca_certs = "C:\\Users"': "use single quotes",
    'ca_certs = "C:\\certs"': "use single quotes",
    'export poll = "10s"': "remove export before poll",
    "two words = 3": "a key has no spaces",
}


@pytest.mark.parametrize(("line", "fix"), NOT_TOML.items(), ids=NOT_TOML)
def test_text_that_is_not_toml(tmp_path, line, fix):
    """The problem has the number of the line, the line and the fix."""
    (problem,) = problems(tmp_path, f"# a comment\n{line}\n{CLUSTER}{RULE}")
    assert problem.startswith("config.toml:2")
    assert fix in problem
    assert problem.endswith(f"; the line is: {line}")


@pytest.mark.parametrize(
    "address", ["https://elastic:{}'es:9200", "https:/elastic:{}es", "elastic:{}"]
)
def test_a_password_in_an_address_without_its_at_sign_is_not_shown(tmp_path, address):
    line = f'hosts = ["{address.format("hunter2")}"es"]'
    assert all(
        "hunter2" not in problem for problem in problems(tmp_path, f"[elasticsearch]\n{line}")
    )


@pytest.mark.parametrize("key", ["api_key", "password", "bearer_token", "hosts"])
@pytest.mark.parametrize(
    "line",
    ["{} = {}", '{} = "{}', "{}: {}", '{} "{}"', "{} = [{}", "{} = {}'", '{} = "{}",', "{}\n{}"],
)
def test_a_secret_is_never_shown(tmp_path, key, line):
    for secret in (SECRET, "https://elastic:hunter2@es:9200" if key == "hosts" else "hunter2"):
        text = f"{line.format(key, secret)}\n"
        for problem in problems(tmp_path, f"[elasticsearch]\n{text}{RULE}"):
            assert secret not in problem
            assert "hunter2" not in problem


@pytest.mark.parametrize(
    "line",
    [
        'pasword = "correct-horse',
        "api_ke' = correct-horse",
        "elasticsearch = { pasword: correct-horse }",
        "correct-horse",
        '"correct-horse',
        "[correct-horse",
        "correct-horse: x",
        "bearer correct-horse",
        "x = correct-horse]",
    ],
)
def test_a_secret_whose_key_is_misspelt_is_not_shown_either(tmp_path, line):
    (problem,) = problems(tmp_path, f"{line}\n")
    assert problem.startswith("config.toml:1")
    assert "correct-horse" not in problem


@pytest.mark.parametrize("text", ['"', "'", "x", "a.", "[", "\\", "x = ", "#", "{", "=", "]", ","])
def test_a_very_long_line_is_reported_at_once(tmp_path, text):
    """In the time of a few passes over it: an hour, if it were its square."""
    found = problems(tmp_path, f'hosts = "x{text * (900_000 // len(text))}\n')
    assert len(found) == 1
    assert len(found[0]) < 200


TOO_DEEP = "tables or lists are nested more than 32 deep; flatten them"


@pytest.mark.parametrize(
    "line",
    [
        f"a = {'[' * 33}1{']' * 33}",
        f"a = {'[' * 3_000}",
        f"a = {'{b = ' * 3_000}",
        f"{'a.' * 3_000}a = 1",
        f"[{'a.' * 3_000}a]",
    ],
    ids=["33", "lists", "tables", "keys", "header"],
)
def test_a_file_that_is_nested_too_deeply(tmp_path, line):
    assert problems(tmp_path, f"{CLUSTER}{line}\n") == [f"config.toml: {TOO_DEEP}"]


@pytest.mark.parametrize(
    "value", ["[" * 3_000 + "]" * 3_000, "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40]
)
def test_a_variable_that_is_nested_too_deeply(value):
    with pytest.raises(ConfigError) as error:
        load(None, {"AUTOSCALER_RULES": value, "AUTOSCALER_ELASTICSEARCH__HOSTS": "http://es"})
    assert f"AUTOSCALER_RULES: {TOO_DEEP}" in str(error.value)


def test_a_number_with_too_many_digits(tmp_path):
    found = problems(tmp_path, f"{CLUSTER}x = {'9' * 5_000}\n")
    assert found == ["config.toml:3: a number has too many digits"]


SERVER_KEYS = (
    "its keys are host, port, token, token_file, tokens, open_reads, allowed_hosts, tls, users and "
    "rate_limit"
)
VALUES = {
    "poll_interval = 10": "not 10",
    "poll_interval = true": "not true",
    'poll_interval = "10"': "not '10'",
    'poll_interval = ""': "not ''",
    'poll_interval = "10 s"': "not '10 s'; did you mean \"10s\"?",
    'poll_interval = "10sec"': 'did you mean "10s"?',
    'poll_interval = "2 minutes"': 'did you mean "2m"?',
    'poll_interval = "10S"': 'did you mean "10s"?',
    "server = 9000": f"must be a table; {SERVER_KEYS}",
    'server = { listen = "x" }': f"server.listen: no such key; {SERVER_KEYS}",
}


@pytest.mark.parametrize(("line", "end"), VALUES.items(), ids=VALUES)
def test_a_wrong_value_is_shown(tmp_path, line, end):
    (problem,) = problems(tmp_path, f"{line}\n{CLUSTER}{RULE}")
    assert problem.endswith(end)


RULES = {
    'deployments = ""': "deployments: must not contain an empty pattern",
    'deployments = ["a", ""]': "deployments: must not contain an empty pattern",
    "models = 3": "models: must be a list, not 3",
    "scale_to_zero = true": "scale_to_zero: must be a table, not true; its keys are after and via",
    "slo = 0.99": "slo: must be a table, not 0.99; its keys are latency, wait and target",
}


@pytest.mark.parametrize(("line", "problem"), RULES.items(), ids=RULES)
def test_a_wrong_value_in_a_rule(tmp_path, line, problem):
    (found,) = problems(tmp_path, f"{CLUSTER}{RULE}{line}\n")
    assert found.startswith(f"config.toml:6: rule 'all': {problem}")


def test_a_rule_with_one_pattern_needs_no_list(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f'{CLUSTER}{RULE}deployments = "x-*"\nmodels = "a, b"\n')
    (rule,) = load(path, {}).rules
    assert (rule.deployments, rule.models) == (("x-*",), ("a", "b"))


def test_one_table_of_rules(tmp_path):
    (problem,) = problems(tmp_path, f'{CLUSTER}[rules]\nname = "all"\n')
    assert problem == "config.toml:3: rules: must be a list; write [[rules]] with two brackets"


def test_files_that_cannot_be_used_are_reported_with_all_other_problems(tmp_path):
    text = f"""state_dir = 3
poll_interval = 5
{CLUSTER}api_key_file = "gone/key"
request_timeout = 5
ca_certs = "gone/ca.crt"
client_certificate = 3
client_key = "gone/key.pem"
urls = 1
[[rules]]
max_allocations = "8"
"""
    found = "\n".join(problems(tmp_path, text))
    for part in (
        "config.toml:1: state_dir: must be a text",
        "config.toml:2: poll_interval: must be a duration",
        "config.toml:5: elasticsearch.api_key_file: gone/key cannot be read",
        "config.toml:6: elasticsearch.request_timeout: must be a duration",
        "config.toml:7: elasticsearch.ca_certs: gone/ca.crt cannot be read",
        "config.toml:8: elasticsearch.client_certificate: must be a text",
        "config.toml:10: elasticsearch.urls: no such key",
        "config.toml:11: rules[0].name: is required",
        "config.toml:12: rules[0].max_allocations: must be an integer",
    ):
        assert part in found
    assert "requires client_certificate" not in found, "that follows from another problem"
