"""What becomes of the lines of an access log, and of what attackers write into them."""

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import ConfigError
from stream.events import OPERATION_LENGTH_MAX, Request, decode_request, encode_request
from stream.events.convert import (
    CloudTrailSpec,
    Fault,
    FaultCode,
    NginxSpec,
    convert_cloudtrail,
    convert_nginx,
    effect_by_verb,
    outcome_of_status,
    resource,
    resources_of,
    route_of,
    segment_of,
)
from stream.identity import canonical_workload

SAMPLES = Path(__file__).parent / "samples"
CONVERT = {
    "access.log": lambda lines: convert_nginx(
        lines, NginxSpec(trust_domain="Shop.example", identity="user_or_address")
    ),
    "cloudtrail.json": convert_cloudtrail,
}
LINE_BYTES_MAX = 131_072
HEAD = b"192.0.2.1 - - [10/Oct/2024:13:55:36 +0000] "


def is_valid(made):
    """Tell whether the product itself accepts a request, unchanged, under its canonical name."""
    same_name = canonical_workload(made.workload) == made.workload
    return same_name and decode_request(encode_request(made)) == made


def one(line, **spec):
    """Return what the converter makes of one line of an access log."""
    (made,) = convert_nginx([line], msgspec.convert({"kind": "nginx", **spec}, NginxSpec))
    return made


def line_of(request=b"GET / HTTP/1.1", status=b"200", address=b"192.0.2.1", user=b"-"):
    """Return a line of a combined log."""
    time_local = b"[10/Oct/2024:13:55:36 +0000]"
    return b'%s - %s %s "%s" %s 5 "-" "-"' % (address, user, time_local, request, status)


def brief(made):
    """Return what a sample's expectation says: a request without defaults, a fault's place."""
    if isinstance(made, Fault):
        return {"fault": made.code.value, "line": made.line, "record": made.record}
    return msgspec.json.decode(msgspec.json.encode(made))


@pytest.mark.parametrize("name", sorted(CONVERT))
def test_samples_become_what_stands_beside_them(name):
    """Each sample log gives exactly the requests and faults in its `.expected.jsonl`."""
    made = list(CONVERT[name]((SAMPLES / name).read_bytes().splitlines()))
    expected = (SAMPLES / f"{name}.expected.jsonl").read_bytes().splitlines()
    assert [brief(each) for each in made] == [msgspec.json.decode(line) for line in expected]
    assert all(is_valid(each) for each in made if isinstance(each, Request))


@pytest.mark.parametrize("name", sorted(CONVERT))
def test_text_and_bytes_are_the_same_log(name):
    """Lines may come as text or as bytes, with or without their line ends."""
    raw = (SAMPLES / name).read_bytes()
    as_bytes = [brief(made) for made in CONVERT[name](raw.splitlines(keepends=True))]
    assert [brief(made) for made in CONVERT[name](raw.decode().splitlines())] == as_bytes
    assert [brief(made) for made in CONVERT[name](raw.replace(b"\n", b"\r\n").split(b"\n"))] == (
        as_bytes
    )


@pytest.mark.parametrize(
    ("target", "operation", "resources"),
    [
        (b"/", "GET /", ("path:/",)),
        (b"//a///b", "GET /a/b", ("path:/a/b",)),
        (b"/a/./b/../c/", "GET /a/c/", ("path:/a/c/",)),
        (b"/../../etc/passwd", "GET /etc/passwd", ("path:/etc/passwd",)),
        (b"/a/..", "GET /", ("path:/",)),
        (b"/%2e%2E/%61", "GET /a", ("path:/a",)),
        (b"/a%2fb", "GET /a%2Fb", ("path:/a%2Fb",)),
        (b"/a b\xff%zz", "GET /a%20b%FF%25zz", ("path:/a%20b%FF%25zz",)),
        (b"/u/{id}", "GET /u/%7Bid%7D", ("path:/u/%7Bid%7D",)),
        (b"/u/17", "GET /u/{id}", ("path:/u/17",)),
        (b"/u/2024-10-10/x", "GET /u/{id}/x", ("path:/u/2024-10-10/x",)),
        (b"/u/DEADBEEF1.json", "GET /u/{id}.json", ("path:/u/DEADBEEF1.json",)),
        (b"/facade/deadbeef", "GET /facade/deadbeef", ("path:/facade/deadbeef",)),
        (b"/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /{id}", ("path:/01ARZ3NDEKTSV4RRFFQ69G5FAV",)),
        (b"/u/a@b.example", "GET /u/{id}", ("path:/u/a@b.example",)),
        (b"/@scope/v2", "GET /@scope/v2", ("path:/@scope/v2",)),
        (b"/a;jsessionid=7F?q#f", "GET /a", ("path:/a;jsessionid=7F",)),
        (b"/" + b"x" * 65, "GET /{id}", ("path:/" + "x" * 65,)),
        (b"/a" * 40, "GET " + "/a" * 12 + "/{rest}", ("path:" + "/a" * 40,)),
        (b"HTTP://h.example:80", "GET /", ("path:/", "authority:h.example:80")),
        (b"*", "GET *", ()),
    ],
)
def test_a_target_has_one_route(target, operation, resources):
    """Spelling does not change the route; what varies from call to call is not in it."""
    assert route_of("GET", target) == (operation, resources)


@pytest.mark.parametrize(
    ("method", "target"),
    [("G\u00e9", b"/"), ("", b"/"), ("G ET", b"/"), ("G\n", b"/"), ("GET", b""), ("GET", b"h:80")],
)
def test_what_is_no_request_has_no_route(method, target):
    """A method is a token; a target is a path, a URL or a star."""
    assert route_of(method, target) is None


@pytest.mark.parametrize("method", ["get", "GET" * 9, "FOO_BAR", "x" * 5_000, "G!"])
def test_an_odd_method_hides_nothing(method):
    """Backends that ignore the method serve it, so it is an event like any other."""
    assert route_of(method, b"/export/7") == ("OTHER /export/{id}", ("path:/export/7",))


@pytest.mark.parametrize(
    "user", [b"a" * 600, rb"\x22" * 6_144, b"[10/Oct/2024:13:55:36 +0000] " * 999]
)
@pytest.mark.parametrize("identity", ["address", "user_or_address"])
def test_a_long_user_hides_nothing(user, identity):
    """Nginx logs whatever user a client claims, as long as a header may be, checked or not."""
    line = b"192.0.2.1 - " + user + HEAD.partition(b" - -")[2] + b'"GET /export HTTP/1.1" 200 1'
    spec = msgspec.convert({"kind": "nginx", "identity": identity}, NginxSpec)
    (made,) = convert_nginx([line], spec)
    assert isinstance(made, Request), made
    assert made.operation == "GET /export"
    assert is_valid(made)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "served"), (404, "served"), (429, "failed"), (503, "failed"), (401, "denied")],
)
def test_a_status_says_the_outcome(status, outcome):
    """A target's own limit is a failure; a refusal is ours only where the operator says so."""
    assert outcome_of_status(status) == outcome
    assert outcome_of_status(status, (status,)) == "refused"
    assert one(line_of(status=b"%d" % status)).outcome == outcome


@pytest.mark.parametrize(
    ("address", "segment"),
    [
        (b"192.0.2.1", "192.0.2.1"),
        (b"::ffff:192.0.2.1", "192.0.2.1"),
        (b"2001:DB8:0::1", "2001-db8--1"),
        (b"unix:", segment_of("unix:")),
        (b"fe80::1%eth0", segment_of("fe80::1%eth0")),
        (b"host.example", "host.example"),
    ],
)
def test_an_address_is_one_client(address, segment):
    """However an address is written, it is the same client."""
    assert one(line_of(address=address)).workload == f"spiffe://local/client/{segment}"


def test_a_user_is_believed_only_when_authenticated():
    """A failed authentication is never held against the user it names, only the address is."""
    failed = line_of(user=b"alice", status=b"401")
    assert one(failed, identity="user").workload == "spiffe://local/user/alice"
    assert not one(failed, identity="user").authenticated
    assert one(failed).workload == "spiffe://local/client/192.0.2.1"
    assert one(failed).authenticated
    assert one(line_of(), identity="user").code is FaultCode.NO_IDENTITY
    assert one(line_of(), identity="user_or_address").workload == "spiffe://local/client/192.0.2.1"


@pytest.mark.parametrize("text", ["", "a/b", "a:1", "ü", "a" * 256, "spiffe://a"])
def test_a_bad_trust_domain_is_the_operators_mistake(text):
    """A bad trust domain fails at the call, before any line is read."""
    with pytest.raises(ConfigError, match="trust domain"):
        convert_nginx([], NginxSpec(trust_domain=text))
    if text:
        with pytest.raises(ConfigError, match="trust domain"):
            convert_cloudtrail([], CloudTrailSpec(trust_domain=text))


@given(st.lists(st.text(max_size=200) | st.from_regex(r"[a-z.-]{1,3}(-[0-9a-f]{16})?"), max_size=9))
@example(["a b", "a-b", segment_of("a b"), segment_of(segment_of("a b")), ".", "..", "", "\ud800"])
def test_different_names_are_different_segments(names):
    """No name gives the segment of another one, also if it was chosen to."""
    segments = {segment_of(name) for name in names}
    assert len(segments) == len(set(names))
    assert all(canonical_workload(f"spiffe://a/{each}") for each in segments)


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("get_balance", "read"),
        ("DescribeInstances", "read"),
        ("BatchGetSecretValue", "read"),
        ("HTTPGet", "change"),
        ("send_money", "change"),
        ("getaway", "change"),
        ("", "change"),
        ("42", "change"),
    ],
)
def test_a_verb_says_the_effect(name, effect):
    """What no reading verb starts is taken for a change."""
    assert effect_by_verb(name) == effect


def test_arguments_become_resources():
    """Scalars and items of lists are resources; each name keeps one before any keeps two."""
    arguments = {
        "to": [f"u{n}@example.org" for n in range(9)],
        "amount": 50.0,
        "ratio": 0.5,
        "again": True,
        "none": None,
        "empty": "",
        "a:b": 1 << 400,
        "files": [{"id": 7}, {"id": 7}],
    }
    assert resources_of(arguments) == (
        "to:u0@example.org",
        "amount:50",
        "ratio:0.5",
        "again:true",
        f"a.b:{hex(1 << 400)}",
        "id:7",
        "to:u1@example.org",
        "to:u2@example.org",
    )
    assert resource("n", "v" * 5000) == "n:" + "v" * 1022
    assert resource("", "v") is None


lines = st.builds(
    line_of,
    request=st.binary(max_size=60) | st.from_regex(rb"[A-Z]{1,9} /[^\"]{0,60} HTTP/1\.1"),
    status=st.sampled_from([b"200", b"000", b"999", b"-"]),
    address=st.sampled_from([b"::1", b"unix:", b"fe80::1%eth0"]) | st.binary(max_size=9),
    user=st.binary(max_size=20),
)


@given(st.lists(lines | st.binary(max_size=200) | st.text(max_size=200), max_size=5))
@example([HEAD + b'"GET /\xed\xa0\x80 HTTP/1.1" 200 999999999999999999'])
@example(["\ud800", "\udcff - - [10/Oct/2024:13:55:36 +0000]", "\x00"])
def test_hostile_lines_are_data(given_lines):
    """Whatever stands in a log, each line gives at most one request, valid, or one fault."""
    for spec in (NginxSpec(), NginxSpec(identity="user_or_address")):
        made = list(convert_nginx(given_lines, spec))
        assert len(made) <= len(given_lines)
        assert all(isinstance(each, Fault) or is_valid(each) for each in made)
        assert all(each.message.isprintable() for each in made if isinstance(each, Fault))


@given(st.binary(max_size=2000))
def test_any_target_has_a_bounded_route(target):
    """A route is printable ASCII without spaces of its own, however long and odd the target."""
    route = route_of("GET", b"/" + target)
    assert len(route.operation) <= OPERATION_LENGTH_MAX
    assert route.operation.isascii()
    assert route.operation.isprintable()
    assert route.operation.count(" ") == 1
    assert all(len(each) <= 1024 for each in route.resources)


@pytest.mark.parametrize(
    "line",
    [
        b"\\" * LINE_BYTES_MAX,
        b"192.0.2.1 - " + b"[10/Oct/2024:13:55:36 +0000] " * 4000,
        b"192.0.2.1 - " + b" [10/Oct/2024:13:55:36 +0000] " * 4000 + b'"GET',
        b"192.0.2.1 - " + b"\\x" * 50_000,
        HEAD + b'"' + b'\\"' * 60_000,
        HEAD + b'"GET ' + b"/.." * 40_000 + b' HTTP/1.1" 200 1',
        HEAD + b'"GET /' + b"%41" * 40_000 + b' HTTP/1.1" 200 1',
        HEAD + b'"GET /' + b"1-" * 60_000 + b' HTTP/1.1" 200 1',
        HEAD + b'"GET' + b" HTTP/1.1" * 13_000 + b'" 200 1',
        b"x" * (LINE_BYTES_MAX + 1),
    ],
    ids=range(10),
)
def test_the_worst_line_costs_linear_time(line):
    """No line of the greatest length takes a second; quadratic time would take minutes."""
    begun = time.process_time()
    (made,) = convert_nginx([line])
    assert time.process_time() - begun < 1
    assert isinstance(made, Fault) or is_valid(made)
