"""CloudTrail records: what identities of AWS accounts called, as requests of workloads.

A record's operation is `tool:<service>.<eventName>`, as in `tool:s3.GetObject`: an API action is
named, not routed, so of DESIGN's two forms it is the tool. The workload is the identity's ARN as a
path below its account: `spiffe://<account>/user/<name>`, `.../assumed-role/<role>/<session>`, so
that the sessions of one role share a parent. Whatever is random in a session's name becomes `id`:
SDKs and schedulers make up a new one for each run, and a workload is not a run.

Neither user agent nor source address is read: the one is the client's word, the other is no object.

Source: AWS CloudTrail user guide, "record contents" and "userIdentity element".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final

import msgspec

from ..request import BYTES_MAX, RESOURCES_MAX, TIME_MS_MAX, Effect, Outcome, Request, Token
from .documents import values_of_lines
from .effect import effect_by_verb
from .fault import Fault, FaultCode
from .naming import checked_trust_domain, segment_of
from .resources import resource, resources_of

_ID_LENGTH_MAX: Final = 128
_TOKEN_LENGTH_MAX: Final = 256
_NAME_LENGTH_MAX: Final = 120  # two names, and `tool:` and a dot, are one operation
_PATH_DEPTH_MAX: Final = 8
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS: Final = dt.timedelta(milliseconds=1)
_NO_ACCOUNT: Final = "aws"  # the trust domain of records that name no account
_HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"

# Pages, retries and signatures: made up anew for each call, so no object that it touches.
_PASSING_NAMES: Final = (
    "clienttoken clientrequesttoken host idempotencytoken limit marker maxitems maxrecords"
    " maxresults nextmarker nexttoken pagesize x-id"
)
_PASSING: Final = frozenset(_PASSING_NAMES.split())
_denial: Final = re.compile(
    r"(?i)access_?denied|unauthori[sz]ed|not_?authori[sz]ed|authori[sz]ationerror|forbidden"
).search
_authentication: Final = re.compile(
    r"AuthFailure|ExpiredToken|IncompleteSignature|InvalidAccessKeyId|InvalidClientTokenId"
    r"|SignatureDoesNotMatch|UnrecognizedClient"
).search
_is_account: Final = re.compile(r"[0-9]{12}").fullmatch
_is_instance: Final = re.compile(r"m?i-[0-9a-fA-F]{8,17}").fullmatch
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_RANDOM_END: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:[0-9]{8,}|[0-9a-fA-F]{16,}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\Z"
)


class CloudTrailSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="cloudtrail",
):
    """How CloudTrail records name workloads.

    `trust_domain`: of all workloads, which then lie below their account's id; without one, each
    account is a trust domain of its own.
    """

    trust_domain: Annotated[str, msgspec.Meta(max_length=255)] = ""


class _Attributes(msgspec.Struct, rename="camel"):
    creation_date: str | None = None


class _Session(msgspec.Struct, rename="camel"):
    attributes: _Attributes | None = None


class _Identity(msgspec.Struct, rename="camel"):
    type: str | None = None
    arn: str | None = None
    principal_id: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    user_name: str | None = None
    invoked_by: str | None = None
    session_context: _Session | None = None


class _Resource(msgspec.Struct):
    arn: str | None = msgspec.field(default=None, name="ARN")


class _Record(msgspec.Struct, rename="camel"):
    event_time: str
    event_source: str
    event_name: str
    user_identity: _Identity | None = None
    read_only: bool | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_parameters: object = None
    response_elements: object = None
    additional_event_data: object = None
    resources: list[_Resource] | None = None
    recipient_account_id: str | None = None
    aws_region: str | None = None
    event_id: str | None = msgspec.field(default=None, name="eventID")


class _Document(msgspec.Struct):
    records: list[msgspec.Raw] | None = msgspec.field(default=None, name="Records")


_DEFAULT: Final = CloudTrailSpec()
_record: Final = msgspec.json.Decoder(_Record)
_document: Final = msgspec.json.Decoder(_Document)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


def convert_cloudtrail(
    lines: Iterable[bytes | str], spec: CloudTrailSpec = _DEFAULT
) -> Iterator[Request | Fault]:
    """Yield the request of each record, or its fault, in input order.

    The lines hold `{"Records": [...]}` documents, arrays of records, or records, in any layout
    that `documents` knows. A fault's line is that on which its document starts.

    Errors: ConfigError for a bad trust domain, at the call; a bad record is data.
    """
    trust_domain = checked_trust_domain(spec.trust_domain) if spec.trust_domain else ""
    return _convert(lines, trust_domain)


def _convert(lines: Iterable[bytes | str], trust_domain: str) -> Iterator[Request | Fault]:
    """Yield as `convert_cloudtrail` says; apart from it, so that a bad spec fails at the call."""
    for found in values_of_lines(lines):
        if isinstance(found, Fault):
            yield found
            continue
        line, value = found
        try:
            raws = _raw_records(value)
        except (ValueError, RecursionError) as error:
            yield _fault_of(error, line, 0)
            continue
        for place, raw in enumerate([value] if raws is None else raws, 1):
            record = 0 if raws is None else place
            try:
                made = _request_of(_record.decode(raw), trust_domain)
            except (ValueError, RecursionError) as error:
                yield _fault_of(error, line, record)
                continue
            if isinstance(made, Request):
                yield made
            else:
                code, message = made
                yield Fault(line=line, code=code, message=message, record=record)


def _raw_records(value: bytes) -> list[msgspec.Raw] | None:
    """Return the records of a document or array, None where the value is a record itself."""
    if value.lstrip()[:1] == b"[":
        return _array.decode(value)
    return _document.decode(value).records


def _fault_of(error: ValueError | RecursionError, line: int, record: int) -> Fault:
    """Return the fault for what a decoder raised."""
    if isinstance(error, RecursionError):
        code, message = FaultCode.TOO_DEEP, "nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        code, message = FaultCode.BAD_TEXT, f"not UTF-8: {error.reason} at byte {error.start}"
    elif isinstance(error, msgspec.ValidationError):
        code, message = FaultCode.WRONG_TYPE, str(error)
    else:
        code, message = FaultCode.MALFORMED, str(error)
    return Fault(line=line, code=code, message=message, record=record)


def _request_of(record: _Record, trust_domain: str) -> Request | tuple[FaultCode, str]:
    """Return the request of one record, or why there is none."""
    at_ms = _at_ms(record.event_time)
    if at_ms is None:
        return FaultCode.BAD_TIME, f"no such time: {record.event_time[:40]!a}"
    service = record.event_source.removesuffix(".cn").removesuffix(".amazonaws.com")
    if not service or not record.event_name:
        return FaultCode.WRONG_TYPE, "eventSource and eventName must not be empty"
    workload = _workload_of(record, trust_domain)
    if workload is None:
        return FaultCode.NO_IDENTITY, "userIdentity names nobody"
    outcome, is_authenticated = _outcome_of(record)
    action = segment_of(record.event_name, _NAME_LENGTH_MAX)
    return Request(
        at_ms=at_ms,
        workload=workload,
        operation=f"tool:{segment_of(service, _NAME_LENGTH_MAX)}.{action}",
        effect=_effect_of(record),
        outcome=outcome,
        bytes=_bytes_of(record.additional_event_data),
        token=_token_of(record.user_identity),
        resources=_resources_of(record),
        authenticated=is_authenticated,
        id=(record.event_id or "")[:_ID_LENGTH_MAX],
    )


def _at_ms(text: str) -> int | None:
    """Return an ISO 8601 time in Unix milliseconds, or None; without a zone it is UTC."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    at_ms = (moment - _EPOCH) // _MS
    return at_ms if 0 <= at_ms <= TIME_MS_MAX else None


def _effect_of(record: _Record) -> Effect:
    """Return what AWS says, or for records older than `readOnly` what the verb says.

    AWS counts `AssumeRole...` as reading, although its verb does not say so.
    """
    is_reading = record.read_only
    if is_reading is None and not record.event_name.startswith("AssumeRole"):
        return effect_by_verb(record.event_name)
    return "change" if is_reading is False else "read"


def _outcome_of(record: _Record) -> tuple[Outcome, bool]:
    """Return the outcome, and whether the caller was who the record says."""
    if record.error_code:
        if _authentication(record.error_code):
            return "denied", False
        return ("denied" if _denial(record.error_code) else "failed"), True
    # A failed console login has no error code; the answer says it, or only the message.
    answer = record.response_elements
    is_refused = isinstance(answer, Mapping) and answer.get(record.event_name) == "Failure"
    if is_refused or record.error_message == "Failed authentication":
        return "denied", False
    return ("failed" if record.error_message else "served"), True


def _bytes_of(extra: object) -> int:
    """Return what an S3 data event says was sent to the caller; others do not say."""
    sent = extra.get("bytesTransferredOut") if isinstance(extra, Mapping) else None
    return int(min(max(sent, 0), BYTES_MAX)) if isinstance(sent, int | float) else 0


def _token_of(identity: _Identity | None) -> Token | None:
    """Return the access key that signed the call, with the start of its session."""
    if identity is None or not identity.access_key_id:
        return None
    session = identity.session_context
    created = session.attributes.creation_date if session and session.attributes else None
    return Token(
        issuer="aws",
        id=identity.access_key_id[:_TOKEN_LENGTH_MAX],
        issued_at_ms=(_at_ms(created) or 0) if created else 0,
    )


def _resources_of(record: _Record) -> tuple[str, ...]:
    """Return what the call touched: the ARNs it lists, its parameters, and last its region.

    An ARN is a `name:value` pair as it stands.
    """
    found = []
    for listed in record.resources or ():
        prefix, _, rest = (listed.arn or "").partition(":")
        found.append(resource(prefix, rest))
    if isinstance(record.request_parameters, Mapping):
        found.extend(resources_of(_lasting(record.request_parameters)))
    region = resource("region", record.aws_region or "")
    kept = list(dict.fromkeys(text for text in found if text is not None))
    room = RESOURCES_MAX - (region is not None)
    return (*kept[:room], *([region] if region is not None else []))


def _lasting(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters that name something which is still there at the next call."""
    return {
        name: value
        for name, value in parameters.items()
        if name.lower() not in _PASSING
        and not name.lower().startswith("x-amz-")
        and value not in (_HIDDEN, "***")
    }


def _workload_of(record: _Record, trust_domain: str) -> str | None:
    """Return the SPIFFE ID of the identity behind a record, or None if it names nobody."""
    identity = record.user_identity
    if identity is None:
        return None
    segments = _path_of(identity, record.event_source)
    if not segments:
        return None
    account = identity.account_id or record.recipient_account_id
    if not trust_domain and account and _is_account(account):
        return f"spiffe://{account}/{'/'.join(segments)}"
    # The account keeps apart what two of them call by the same name.
    within = [segment_of(account)] if account else []
    return f"spiffe://{'/'.join([trust_domain or _NO_ACCOUNT, *within, *segments])}"


def _path_of(identity: _Identity, source: str) -> list[str]:
    """Return the path of an identity: kind first, then name; of an account's root, `root` alone."""
    owned = (identity.arn or "").split(":", 5)[5:]
    names = [name for text in owned for name in text.split("/") if name]
    if names[:1] == ["assumed-role"] and len(names) > 2:
        names[-1] = _steady(names[-1])
    if not names:
        name = identity.user_name or identity.principal_id or identity.invoked_by
        if name is None and identity.type == "AWSService":
            name = source
        names = [_kind_of(identity.type or "Unknown"), name] if name else []
    head, tail = names[: _PATH_DEPTH_MAX - 1], names[_PATH_DEPTH_MAX - 1 :]
    return [segment_of(name) for name in (*head, *(["/".join(tail)] if tail else []))]


def _kind_of(type_name: str) -> str:
    """Return a type of identity the way ARNs write it: `assumed-role` for `AssumedRole`."""
    return "user" if type_name == "IAMUser" else _HUMP.sub("-", type_name).lower()


def _steady(session: str) -> str:
    """Return a session's name without what is made up anew for each session."""
    return session if _is_instance(session) else _RANDOM_END.sub("id", session)
