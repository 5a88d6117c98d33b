"""What becomes of CloudTrail records, in whatever layout and state they come."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.events import Request, decode_request, encode_request
from stream.events.convert import (
    CloudTrailSpec,
    Fault,
    FaultCode,
    convert_cloudtrail,
    documents,
)
from stream.identity import canonical_workload

RECORD = {
    "eventTime": "2024-07-30T21:36:07Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "GetObject",
    "userIdentity": {"arn": "arn:aws:iam::123456789012:user/a", "accountId": "123456789012"},
}
DEEP = "[" * 100_000 + "]" * 100_000


def record(**fields):
    """Return a record as JSON text, with some fields other than usual."""
    return json.dumps({**RECORD, **fields})


def one(text, **spec):
    """Return what the converter makes of the one record in a text."""
    (made,) = convert_cloudtrail([text], CloudTrailSpec(**spec))
    return made


def is_valid(made):
    """Tell whether the product itself accepts a request, unchanged, under its canonical name."""
    same_name = canonical_workload(made.workload) == made.workload
    return same_name and decode_request(encode_request(made)) == made


@pytest.mark.parametrize(
    "lines",
    [
        [record(eventID=n) for n in "ab"],
        [record(eventID="a") + record(eventID="b")],
        [f'{{"Records": [{record(eventID="a")}]}}{{"Records": [{record(eventID="b")}]}}'],
        [f'{{"Records": [{record(eventID="a")}, {record(eventID="b")}]}}'],
        ["", f"[{record(eventID='a')}, {record(eventID='b')}]", " \n"],
        json.dumps({"Records": [json.loads(record(eventID=n)) for n in "ab"]}, indent=2).split(
            "\n"
        ),
        "\n".join(json.dumps(json.loads(record(eventID=n)), indent=1) for n in "ab").split("\n"),
    ],
    ids=["lines", "behind", "documents", "document", "array", "indented", "indented-records"],
)
def test_layout_does_not_matter(lines):
    """The same records come out of every layout that log files have."""
    assert [made.id for made in convert_cloudtrail(lines)] == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"cut', record(eventID="a"), record(eventID="b")], [1, "a", "b"]),
        ([record(eventID="a") + "}", record(eventID="b"), "x"], ["a", 1, "b", 3]),
        ([record(eventID="a"), "[1,", record(eventID="b")], ["a", 2, "b"]),
        ([record(eventID="a"), record(eventID="b") + "x"], ["a", "b", 2]),
        (["{", '"eventTime": 1}', "", "junk", record(eventID="b")], [1, 4, "b"]),
        (["null", "7", '"x"', "[]", "{}"], [1, 2, 3, 5]),
    ],
)
def test_one_bad_line_stops_nothing(lines, expected):
    """A fault names its line, and what stands behind it is still read."""
    made = convert_cloudtrail(lines)
    assert [each.line if isinstance(each, Fault) else each.id for each in made] == expected


def test_a_text_too_long_to_hold_is_read_by_line(monkeypatch):
    """Beyond the bound on what is held, a fault says so and lines that are records still count."""
    monkeypatch.setattr(documents, "TEXT_BYTES_MAX", 300)
    lines = ["{", *[record(eventID=str(n)) for n in range(9)]]
    made = list(convert_cloudtrail(lines))
    assert [each.code for each in made[:2]] == [FaultCode.TOO_LONG, FaultCode.MALFORMED]
    assert [each.id for each in made[2:]] == [str(n) for n in range(9)]


@pytest.mark.parametrize(
    ("identity", "path"),
    [
        ({"type": "IAMUser", "userName": "a"}, "aws/user/a"),
        ({"type": "SAMLUser", "userName": "a@b.example"}, "aws/saml-user/a-b.example-"),
        ({"type": "AWSAccount", "principalId": "AIDAX", "accountId": "123456789012"},
         "123456789012/aws-account/AIDAX"),
        ({"type": "AWSService"}, "aws/aws-service/s3.amazonaws.com"),
        ({"arn": "arn:aws:sts::1:assumed-role/R/i-0123456789abcdef0"},
         "aws/assumed-role/R/i-0123456789abcdef0"),
        ({"arn": "arn:aws:sts::1:assumed-role/R/task-0B9F3C7E-8c9a-4c39-9a39-0b9f3c7e8c9a"},
         "aws/assumed-role/R/task-id"),
        ({"arn": "arn:aws:sts::1:assumed-role/R/a2024"}, "aws/assumed-role/R/a2024"),
        ({"arn": "arn:aws:iam::1:user/.."}, "aws/user/name-"),
        ({"arn": ":::::/", "principalId": "AIDAX"}, "aws/unknown/AIDAX"),
        ({"accountId": "../../x", "arn": "arn:aws:iam::1:user/a"}, "aws/x-"),
    ],
)  # fmt: skip
def test_an_identity_is_a_path_below_its_account(identity, path):
    """Kind and name are segments of the path; what is random in a session's name is not."""
    made = one(record(userIdentity=identity))
    assert made.workload.startswith(f"spiffe://{path}")
    assert path.endswith("-") or made.workload == f"spiffe://{path}"
    assert is_valid(made)


def test_one_trust_domain_keeps_accounts_apart():
    """Below a trust domain of the operator's, the account is the first segment."""
    made = one(record(), trust_domain="Cloud.example")
    assert made.workload == "spiffe://cloud.example/123456789012/user/a"


@pytest.mark.parametrize(
    ("code", "outcome", "is_authenticated"),
    [
        (None, "served", True),
        ("AccessDenied", "denied", True),
        ("AccessDeniedException", "denied", True),
        ("Client.UnauthorizedOperation", "denied", True),
        ("NotAuthorized", "denied", True),
        ("ExpiredTokenException", "denied", False),
        ("Client.RequestLimitExceeded", "failed", True),
        ("NoSuchBucket", "failed", True),
    ],
)
def test_an_error_says_the_outcome(code, outcome, is_authenticated):
    """Denials are the target's authorization; a bad credential is held against nobody."""
    made = one(record(errorCode=code))
    assert (made.outcome, made.authenticated) == (outcome, is_authenticated)


@pytest.mark.parametrize(
    ("name", "read_only", "effect"),
    [("GetObject", False, "change"), ("PutObject", True, "read"), ("PutObject", None, "change"),
     ("ListUsers", None, "read"), ("AssumeRoleWithSAML", None, "read")],
)  # fmt: skip
def test_aws_says_the_effect(name, read_only, effect):
    """`readOnly` counts, and the verb only where a record has none."""
    assert one(record(eventName=name, readOnly=read_only)).effect == effect


def test_resources_leave_room_for_the_region():
    """Eight resources at most: ARNs, then parameters, and always the region."""
    made = one(
        record(
            awsRegion="eu-west-1",
            resources=[{"ARN": "arn:aws:s3:::b"}, {"ARN": "arn:aws:s3:::b"}, {"type": "x"}],
            requestParameters={"nextToken": "t", "key": "***", **{f"p{n}": n for n in range(9)}},
        )
    )
    assert made.resources == (
        "arn:aws:s3:::b",
        *[f"p{n}:{n}" for n in range(6)],
        "region:eu-west-1",
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"Records": 1}', FaultCode.WRONG_TYPE),
        (record(requestParameters=0).replace("0}", DEEP + "}"), FaultCode.TOO_DEEP),
        (record(eventName="\udcff").replace("\\udcff", "\udcff"), FaultCode.BAD_TEXT),
        (record(eventTime="9999-12-31T23:59:59-14:00"), FaultCode.BAD_TIME),
        (record(eventTime="1969-12-31T23:59:59Z"), FaultCode.BAD_TIME),
        (record(userIdentity={}), FaultCode.NO_IDENTITY),
        (record(readOnly="yes"), FaultCode.WRONG_TYPE),
        (record(requestParameters=0).replace("0}", "NaN}"), FaultCode.MALFORMED),
    ],
)
def test_a_bad_record_has_a_code(text, code):
    """What is wrong with a record is one word of a closed list."""
    assert one(text).code is code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)
records = st.fixed_dictionaries(
    {
        "eventTime": st.just(RECORD["eventTime"]) | st.text(max_size=30),
        "eventName": st.text(max_size=300),
        "eventSource": st.text(max_size=300),
        "userIdentity": st.fixed_dictionaries(
            {"arn": st.text(max_size=40) | st.from_regex(r"(a:){5}(/?[^/]{0,9}){0,12}")},
            optional={"accountId": st.text(max_size=20), "accessKeyId": st.text(max_size=300)},
        ),
    },
    optional={
        "eventID": st.text(max_size=300),
        "errorCode": st.text(max_size=20),
        "requestParameters": json_values,
        "additionalEventData": json_values,
        "resources": st.lists(st.fixed_dictionaries({"ARN": st.text(max_size=30)}), max_size=12),
        "awsRegion": st.text(max_size=12),
    },
)


@given(st.lists(records.map(json.dumps) | json_values.map(json.dumps) | st.binary(), max_size=4))
@example([record(additionalEventData={"bytesTransferredOut": 1e300})])
@example([record(additionalEventData={"bytesTransferredOut": -5})])
@example([record(requestParameters={"a": 10**400})])
def test_hostile_records_are_data(lines):
    """Whatever stands in a file, it gives valid requests and faults, and no exception."""
    for made in convert_cloudtrail(lines):
        assert isinstance(made, Fault | Request)
        assert isinstance(made, Fault) or is_valid(made)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 131_072,
        DEEP,
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        '{"Records":[]}' * 9000,
        record(eventName="x" * 131_072),
        record(userIdentity={"arn": "a:b:c:d:e:" + "/x" * 131_072}),
        record(requestParameters={str(n): [n] * 9 for n in range(9000)}),
        "\n".join(['{"a":[1,'] * 9000),
    ],
    ids=range(8),
)
def test_the_worst_text_costs_linear_time(text):
    """No text of this length takes seconds; quadratic time would take minutes."""
    begun = time.process_time()
    for made in convert_cloudtrail(text.split("\n")):
        assert isinstance(made, Fault) or is_valid(made)
    assert time.process_time() - begun < 2
