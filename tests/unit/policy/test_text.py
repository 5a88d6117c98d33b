"""Policy texts: what is read, and for each mistake one file, its line, its path, its words."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from stream.errors import PolicyError
from stream.policy import Policy, load_policy, read_policy

RULE = """\
name: x
rules:
  - name: r
    limit: {measure: requests, at_most: 5, per: 10s}
    action: observe
"""
LIMIT = "limit: {measure: requests, at_most: 5, per: 10s}"
THROTTLE = RULE.replace("observe", "throttle")


def rule(old: str, new: str) -> str:
    """The rule of RULE with one thing changed."""
    assert old in RULE
    return RULE.replace(old, new)


def classes(entry: str) -> str:
    """A policy with one class in line 3."""
    return f"name: x\nclasses:\n  - {entry}\n"


# text, line, path, what the message or its hint says
MISTAKES = [
    # The text as a whole
    ("", 1, "$", "the text is empty"),
    ("# nothing but words\n", 1, "$", "the text is empty"),
    ("- a\n", 1, "$", "expected settings, got a list"),
    ("text\n", 1, "$", "expected settings, got text"),
    ("a" * 300_000, 1, "$", "more than 262144 bytes"),
    ("name: x\n---\nname: y\n", 2, "$", "a second document begins here"),
    ("rules: []\n", 1, "$", "`name` is missing"),
    # YAML
    ('name: "x\n', 2, "$.name", "a closing quote is missing"),
    ("name: x\n\trules: []\n", 2, "$", "indent with spaces"),
    ("name: x\nrules:\n  - name: a\n   action: b\n", 4, "$.rules", "is the line indented like"),
    ("name: x: y\n", 1, "$", "a colon followed by a space in quotes"),
    ("name: x\nidle: @5\n", 2, "$.idle", "in quotes"),
    ("name: x\n\nidle: \x07\n", 3, "$", "write the character as an escape"),
    ('name: "\\UFFFFFFFF"\n', 1, "$.name", "a number is out of range"),
    ('name: x\nidle: "\\ud800"\n', 2, "$.idle", "half of a surrogate pair"),
    ("name: x\nname: y\n", 2, "$", "`name` is there twice"),
    ("name: x\nrules:\n", 2, "$.rules", "there is no value here"),
    ("name: x\n? [a]\n: b\n", 2, "$", "a setting is a word"),
    ("name: x\n" + "k" * 70 + ": 3\n", 2, "$", "1 to 64 visible characters"),
    ("name: !!python/object:os.system x\n", 1, "$.name", "is a tag"),
    ("name: !x y\n", 1, "$.name", "text that begins with ! needs quotes"),
    ("name: x\n<<: {idle: 9d}\n", 2, "$", "no merge keys"),
    ("name: x\nidle: *missing\n", 2, "$.idle", "no value has the anchor &missing"),
    ("name: &me [*me]\n", 1, "$.name[0]", "no value has the anchor &me"),
    ("name: x\nrules: " + "[" * 20, 2, "$.rules" + "[0]" * 11, "nested more than 12 deep"),
    (rule("5,", "5, operations: [*],"), 4, "$.rules[0].limit.operations", "with * needs quotes"),
    # Names and settings
    ("name: 3\n", 1, "$.name", "expected text, got a whole number"),
    ("name: Big Name\n", 1, "$.name", "write a name of small letters"),
    ('name: "x\\n"\n', 1, "$.name", "this text does not fit"),
    ("name: x\nrulez: []\n", 2, "$.rulez", "did you mean `rules`?"),
    (RULE + "    mod: shadow\n", 6, "$.rules[0].mod", "did you mean `mode`?"),
    (rule("per:", "par:"), 4, "$.rules[0].limit.par", "did you mean `per`?"),
    ("name: x\ntasks: grantd\n", 2, "$.tasks", "did you mean `granted`?"),
    ("name: x\ntasks: maybe\n", 2, "$.tasks", "there is granted, vouched"),
    # Durations
    ("name: x\nidle: 3\n", 2, "$.idle", "write a duration such as 10s"),
    ("name: x\nidle: null\n", 2, "$.idle", "expected text, got nothing"),
    ("name: x\nidle: 3 days\n", 2, "$.idle", "'3 days' is not a duration"),
    ("name: x\nidle: 1h\n", 2, "$.idle", "1h is not between 1d1h and 400d"),
    ("name: x\nskew: 2h\n", 2, "$.skew", "2h is not between 0ms and 1h"),
    (rule("10s", "10ms"), 4, "$.rules[0].limit.per", "10ms is not between 1s and 1d"),
    (rule("10s", "2d"), 4, "$.rules[0].limit.per", "2d is not between 1s and 1d"),
    (rule(", per: 10s", ""), 4, "$.rules[0].limit", "`per` is missing"),
    (RULE + "    for: 10d\n", 6, "$.rules[0].for", "10d is not between 1s and 7d"),
    ("idle: 30h\n" + RULE + "    for: 2d\n", 7, "$.rules[0].for", "a command outlives the row"),
    # Classes
    ("name: x\nclasses: agents\n", 2, "$.classes", "expected a list, got text"),
    (classes("agents"), 3, "$.classes[0]", "its settings are name, workloads"),
    (classes("name: a"), 3, "$.classes[0]", "`workloads` is missing"),
    (classes("{name: a, workloads: []}"), 3, "$.classes[0].workloads", "of length >= 1"),
    (
        classes("{name: a, workloads: [spiffe://a/b, spiffe://td]}"),
        3,
        "$.classes[0].workloads[1]",
        "spiffe://td/** is every workload",
    ),
    (
        classes("{name: a, workloads: [http://a/b]}"),
        3,
        "$.classes[0].workloads[0]",
        "it starts with spiffe://",
    ),
    (
        classes("{name: other, workloads: [spiffe://a/b]}"),
        3,
        "$.classes[0].name",
        "`other` is the class of workloads in no other class",
    ),
    (
        classes("{name: a, workloads: [spiffe://a/b]}\n  - {name: a, workloads: [spiffe://a/c]}"),
        4,
        "$.classes[1].name",
        "`a` is there twice",
    ),
    (RULE + "    classes: [agents]\n", 6, "$.rules[0].classes[0]", "there is no class `agents`"),
    (RULE + "    classes: [othr]\n", 6, "$.rules[0].classes[0]", "did you mean `other`?"),
    (RULE + "    classes: agents\n", 6, "$.rules[0].classes", "write a list of names"),
    # Rules
    (RULE + RULE[len("name: x\nrules:\n") :], 6, "$.rules[1].name", "`r` is there twice"),
    (RULE + "    mode: on\n", 6, "$.rules[0].mode", "there is enforce, off, shadow"),
    (RULE + "    mode: false\n", 6, "$.rules[0].mode", "got true or false"),
    (RULE + "    mode: Shadow\n", 6, "$.rules[0].mode", "did you mean `shadow`?"),
    (RULE + "    on: agent\n", 6, "$.rules[0].on", "there is operation, task, token, workload"),
    (rule("observe", "kill"), 5, "$.rules[0].action", "there is observe, revoke, throttle"),
    (RULE + "    rate: 5/s\n", 6, "$.rules[0].rate", "a rate belongs to action throttle"),
    (THROTTLE, 3, "$.rules[0].rate", "write `rate: 5/s` beside"),
    (THROTTLE + "    rate: 5\n", 6, "$.rules[0].rate", "write a rate such as 5/s"),
    (THROTTLE + "    rate: 5//s\n", 6, "$.rules[0].rate", "'5//s' is not a rate"),
    (THROTTLE + "    rate: 5/week\n", 6, "$.rules[0].rate", "'5/week' is not a rate"),
    (THROTTLE + "    rate: 5/s\n    on: token\n", 7, "$.rules[0].on", "revoked, not throttled"),
    (RULE + "    note: ''\n", 6, "$.rules[0].note", "write a sentence"),
    (RULE + "    controls: ASI02\n", 6, "$.rules[0].controls", "begin each entry with `- `"),
    (RULE + "    controls: [1]\n", 6, "$.rules[0].controls[0]", "write a control id"),
    # Limits
    (rule("requests", "request"), 4, "$.rules[0].limit.measure", "did you mean `requests`?"),
    (rule("5,", "-5,"), 4, "$.rules[0].limit.at_most", "a whole number >= 0"),
    (rule("5,", "5.5,"), 4, "$.rules[0].limit.at_most", "'5.5' is not a quantity"),
    (rule("5,", "5 KB/s,"), 4, "$.rules[0].limit.at_most", "write 100, 100k or 20MB"),
    (rule("5,", "5G,"), 4, "$.rules[0].limit.at_most", "more than a window can count"),
    (rule("5,", "true,"), 4, "$.rules[0].limit.at_most", "a whole number or text, got true"),
    (rule("5,", "9" * 23 + ","), 4, "$.rules[0].limit.at_most", "is not a quantity"),
    (rule("5,", "5, effect: write,"), 4, "$.rules[0].limit.effect", "there is change, read"),
    (
        rule("5,", "5, operations: GET /x,"),
        4,
        "$.rules[0].limit.operations",
        "write a list of 1..64 patterns",
    ),
    (
        rule("5,", "5, operations: [get /x],"),
        4,
        "$.rules[0].limit.operations[0]",
        "(hint: GET /x)",
    ),
    # Sequences
    (rule(LIMIT, "note: y"), 3, "$.rules[0]", "exactly one of limit, forbid and anomaly"),
    (
        RULE + "    forbid: {first: ['tool:a'], then: ['tool:b'], within: 5m}\n",
        3,
        "$.rules[0]",
        "exactly one of limit, forbid and anomaly",
    ),
    (
        rule(LIMIT, "forbid:\n      first: ['tool:a']\n      then: [b]\n      within: 5m"),
        6,
        "$.rules[0].forbid.then[0]",
        "it is METHOD /route, tool:name or *",
    ),
    (
        rule(LIMIT, "forbid: {first: ['tool:a'], then: ['tool:b'], within: 5min}"),
        4,
        "$.rules[0].forbid.within",
        "'5min' is not a duration",
    ),
    # Exemptions
    (
        "name: x\nexemptions:\n  - workloads: [spiffe://a/b]\n",
        3,
        "$.exemptions[0]",
        "`note` is missing",
    ),
    (
        "name: x\nexemptions: [{workloads: [spiffe://a/%41], note: y}]\n",
        2,
        "$.exemptions[0].workloads[0]",
        "percent-encoding is not allowed",
    ),
]


def refusal(text: str) -> str:
    """What an operator reads when a text is refused."""
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml")
    return str(caught.value)


@pytest.mark.parametrize(("text", "line", "path", "words"), MISTAKES)
def test_a_mistake_is_named_with_its_line_and_path(
    text: str, line: int, path: str, words: str
) -> None:
    """A refusal reads `file:line: reason - at $.path`, and its words help."""
    message = refusal(text)
    assert message.startswith(f"p.yaml:{line}: "), message
    assert re.search(rf" - at {re.escape(path)}(?: \(hint: .+\))?$", message), message
    assert words in message


def test_an_alias_is_blamed_where_it_stands_and_its_parts_where_they_do() -> None:
    """A bad pattern in a list that aliases repeat has the line of the pattern."""
    text = """\
        name: x
        classes:
          - name: a
            workloads: &all
              - spiffe://td/a
              - nonsense
        exemptions:
          - workloads: *all
            note: y
        """
    assert refusal(dedent(text)).startswith("p.yaml:6: workload pattern 'nonsense'")


def test_words_mean_what_yaml_1_2_says() -> None:
    """`off`, `on:`, sexagesimal numbers, dates and octal numbers are text, as they look."""
    policy = load_policy(RULE + "    mode: off\n    on: task\n", "p.yaml")
    assert policy.spec.rules[0].mode == "off"
    assert policy.spec.rules[0].on == "task"
    for name in ("off", "yes", "no", "2026-01-01", "007", "1.5", "0x1f", "nan"):
        assert load_policy(f"name: {name}\n", "p.yaml").spec.name == name
    assert "'1:30' is not a duration" in refusal("name: x\nidle: 1:30\n")
    rules = load_policy(RULE.replace("at_most: 5", "at_most: 010"), "p.yaml").rules
    assert rules[0].at_most == 10


def test_a_null_is_a_setting_that_is_left_out() -> None:
    """`null` and `~`, written out, mean none."""
    policy = load_policy(rule("5,", "5, operations: null, effect: ~,"), "p.yaml")
    assert policy.hash == load_policy(RULE, "p.yaml").hash


def test_an_alias_repeats_a_list() -> None:
    """A list that is used twice is written once, and two rules then share one set."""
    text = """\
        name: x
        rules:
          - name: a
            forbid: {first: &secrets ["tool:a", "tool:b"], then: ["tool:c"], within: 5m}
            action: observe
          - name: b
            forbid: {first: *secrets, then: ["tool:d"], within: 5m}
            action: observe
        """
    policy = load_policy(dedent(text), "p.yaml")
    assert policy.rules[0].first == policy.rules[1].first
    assert policy.spec.rules[1].forbid is not None
    assert policy.spec.rules[1].forbid.first == ("tool:a", "tool:b")


def test_aliases_cannot_unfold_without_bound() -> None:
    """What the aliases would write out counts as if it were written."""
    lines = ["name: x", f"a: &a [{', '.join(['lol'] * 10)}]"]
    for former, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{former}'] * 10)}]")
    assert "p.yaml:6: with its aliases written out the text exceeds" in refusal("\n".join(lines))
    entry = "&p " + "x" * 2_000
    lines = ["name: x", f"a: [{entry}, {', '.join(['*p'] * 200)}]"]
    assert "p.yaml:2: with its aliases written out" in refusal("\n".join(lines))


def test_the_canonical_text_gives_the_same_policy() -> None:
    """A policy survives the journal byte for byte, whatever characters its notes have."""
    tricky = 'tab\\t del\\x7f next line\\x85 separator\\u2028 \\U0001F600 \\" end'
    policy = load_policy(RULE + f'    note: "{tricky}"\n', "p.yaml")
    again = load_policy(policy.text, "journal")
    assert isinstance(again, Policy)
    assert again.text == policy.text
    assert again.hash == policy.hash
    assert again.spec == policy.spec


def test_json_that_is_not_canonical_is_read_as_yaml() -> None:
    """JSON by hand is fine, with the same checks: a name that is there twice is refused."""
    assert (
        load_policy('{"name": "x",\n "rules": []}', "p.json").hash
        == load_policy("name: x", "p.yaml").hash
    )
    assert refusal('{"name": "x",\n "name": "y"}').startswith("p.yaml:2: `name` is there twice")
    assert refusal('{"name": "x",\n "rulez": []}').startswith("p.yaml:2: there is no setting")


def test_a_document_knows_the_line_of_each_path() -> None:
    """A path that is not in the text has the line of the nearest part above it."""
    _, document = read_policy(RULE + "    classes:\n      - other\n", "p.yaml")
    lines = {
        "$": 1,
        "$.name": 1,
        "$.idle": 1,
        "$.rules": 2,
        "$.rules[0]": 3,
        "$.rules[0].limit.per": 4,
        "$.rules[0].limit.effect": 4,
        "$.rules[0].action": 5,
        "$.rules[0].classes": 6,
        "$.rules[0].classes[0]": 7,
        "$.rules[9].name": 2,
    }
    assert {path: document.line_of(path) for path in lines} == lines


def test_a_policy_may_not_outgrow_its_bound_when_written_out() -> None:
    """The canonical text has the bound too, in bytes: it has to fit into a journal entry."""
    note = "\N{EURO SIGN}" * 85
    lines = [f"  - {{workloads: [spiffe://a/b{i}], note: &n {note}}}" for i in range(250)]
    text = "name: x\nexemptions:\n" + "\n".join(lines)
    assert load_policy(text, "p.yaml")
    entry = "{name: r%d, limit: {measure: cost, at_most: 1, per: 1m}, action: observe, note: *n}"
    rules = "\nrules:\n" + "\n".join(f"  - {entry % i}" for i in range(900))
    assert "written out the policy has" in refusal(text + rules)
