"""Messages on the log: commands, events, jobs, results, and the envelope around them.

Why one file: whoever reads the log in ten years needs the names and the envelope, and nothing else. A message's
type name never changes once it was written; a changed shape is a new version beside it.

The envelope follows CloudEvents 1.0, Kafka protocol binding, binary mode: attributes are record headers with the
prefix `ce_`, the record's value is the data as JSON.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from domain.core.errors import UnknownMessage
from domain.core.fields import PERSONAL_OF_ACTOR, PLAIN
from domain.core.frozen import frozen
from domain.core.upcasting import earlier, today, upcast

SYSTEM = "system"

Verdict = Literal["accepted", "already", "refused"]


_set = object.__setattr__


class Topic(StrEnum):
    """The topics of the log."""

    COMMANDS = "gostack.commands"
    SCHEDULING = "gostack.scheduling"
    EVENTS = "gostack.events"
    JOBS = "gostack.jobs"
    RESULTS = "gostack.results"
    REPORTS = "gostack.reports"
    DEAD = "gostack.dead"


class Model(BaseModel):
    """A value that is never changed, only replaced. Unknown fields are ignored, so that an older reader survives."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)

    def but(self, **changes: Any) -> Self:
        """Return a copy with these fields replaced; the new values are not validated.

        What pydantic's model_copy() does, without its care for what a frozen model has not, nor for which fields were
        once given: a fold calls this some thirty times a boot.
        """
        cls = type(self)
        made = cls.__new__(cls)
        _set(made, "__dict__", {**self.__dict__, **changes})
        _set(made, "__pydantic_fields_set__", self.__pydantic_fields_set__)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


class Message(Model):
    """A record's data. A subclass with a `kind` is registered under a type name made of kind and class name."""

    kind: ClassVar[str] = ""
    revision: ClassVar[int] = 1
    type_name: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.kind and "abstract" not in cls.__dict__:
            cls.type_name = type_name(cls.kind, cls.__name__, cls.revision)
            other = MESSAGES.setdefault(cls.type_name, cls)
            if other.__qualname__ != cls.__qualname__:
                raise TypeError(f"{cls.type_name} names both {other} and {cls}")


class Command(Message):
    """A request to change something, named in the imperative; it may be refused."""

    abstract: ClassVar[bool] = True
    relieves: ClassVar[bool] = False
    """Whether the command ends work or frees capacity: under overload such commands are refused last."""


class Event(Message):
    """A fact, named in the past tense; it is never refused and never changed."""

    abstract: ClassVar[bool] = True


MESSAGES: dict[str, type[Message]] = {}


def type_name(kind: str, class_name: str, revision: int) -> str:
    """Return the type name of a message: `gostack.instance.hard-reboot.v1` for ("instance", "HardRebootInstance",
    1)."""
    words = re.findall(r"[A-Z][a-z0-9]*", class_name)
    own = [word.lower() for word in words]
    of_kind = kind.split("-")
    rest = own
    for start in range(len(own) - len(of_kind) + 1):
        if own[start : start + len(of_kind)] == of_kind:
            rest = own[:start] + own[start + len(of_kind) :]
            break
    return f"gostack.{kind}.{'-'.join(rest or own)}.v{revision}"


def plain_name(name: str) -> str:
    """Return the name of a message as people say it, `hard-reboot` for `gostack.instance.hard-reboot.v1`; any other
    name as it is."""
    return name.split(".")[-2] if name.startswith("gostack.") else name


class Key(NamedTuple):
    """Identity of an aggregate: its kind and id. Written `instance/ID` as a CloudEvents subject."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"

    @classmethod
    def parse(cls, subject: str) -> "Key":
        """Return the key that str() wrote; raises ValueError for any other text."""
        kind, slash, ident = subject.partition("/")
        if not (kind and slash and ident):
            raise ValueError(f"{subject!r} is no subject: KIND/ID is")
        return cls(kind, ident)


@frozen
class Behalf:
    """Attribution of a message: the request that it is part of, the actor, and the project."""

    correlation: str
    actor: str
    project: str


@frozen
class Envelope:
    """A message with its attributes: id, time, subject, source, actor and cause."""

    id: str
    data: Message
    subject: Key
    time: datetime
    source: str
    correlation: str
    causation: str = ""
    actor: Annotated[str, PERSONAL_OF_ACTOR] = SYSTEM
    project: str = ""
    reason: Annotated[str, PERSONAL_OF_ACTOR] = ""
    aggversion: int | None = None
    verdict: Verdict | None = None
    if_match: int | None = None
    fingerprint: Annotated[str, PLAIN] = ""
    traceparent: str = ""
    cause_place: str = ""
    task: str = ""
    """Id of the task that the event is part of, where neither its data nor its correlation is that id."""
    written: str = field(default="", compare=False)
    """Type name on the record that was read; it may be of an earlier revision than that of `data`."""

    @property
    def behalf(self) -> Behalf:
        """Request, actor and project that the message is attributed to."""
        return Behalf(self.correlation, self.actor, self.project)

    def on(self, behalf: Behalf | None) -> "Envelope":
        """Return the envelope attributed to this request, actor and project; None: return it unchanged."""
        if behalf is None:
            return self
        return replace(self, correlation=behalf.correlation, actor=behalf.actor, project=behalf.project)


@frozen
class Outgoing:
    """A message that a decision wants sent; the processor makes its envelope."""

    topic: Topic
    subject: Key
    data: Message
    key: str = ""
    partition: int | None = None
    behalf: Behalf | None = None
    """Attribution of the message; None: that of the record that led to it."""


FILLER = "gostack_filler"
"""Header of a record that has no data and only occupies an offset; such a record has no other header."""
FILLER_HEADERS = ((FILLER, b"1"),)


@frozen
class Record:
    """A record of the log, as bytes and headers. `offset` is -1 until the log has assigned one.

    A header of a record that GoStack did not write may have no value: Kafka has null there, and so it is None here.
    """

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    offset: int = -1
    timestamp: int = field(default=-1, compare=False)
    """Milliseconds since 1970 at which the log took the record; -1 before that. No decision depends on it."""

    @property
    def filler(self) -> bool:
        """Whether the record only occupies an offset: a restored log has these where the original had no record."""
        return len(self.headers) == 1 and self.headers[0][0] == FILLER

    @property
    def place(self) -> str:
        """Topic, partition and offset, as one word."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(slots=True)
class Decision:
    """Result of a decider: events in order, and messages for others."""

    events: list[Event] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    behalf: dict[int, Behalf] = field(default_factory=dict)
    """Index of an event -> its attribution, where that is not the record's."""


@dataclass(slots=True)
class Outcome:
    """Effects of one record: events of aggregates, events that belong to no aggregate, and messages."""

    events: list[tuple[Key, Event]] = field(default_factory=list)
    notices: list[tuple[Key, Event]] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    behalf: dict[int, Behalf] = field(default_factory=dict)
    """Index of an event -> its attribution, where that is not the record's."""


@lru_cache(1 << 14, typed=True)
def derived_id(cause: str, *names: object) -> str:
    """Return an id that is the same for the same cause and names: UUID version 5 (RFC 9562). Cached, since the ids of a
    task's jobs are asked for at each answer. Raises ValueError where the cause is no UUID.
    """
    if len(cause) != 36:
        raise ValueError(f"{cause!r} is no UUID")
    digest = hashlib.sha1(
        bytes.fromhex(cause.replace("-", "")) + "/".join(map(str, names)).encode(), usedforsecurity=False
    ).digest()
    # Version 5 and the RFC's variant stand in the seventh and ninth octet.
    text = (digest[:6] + bytes((digest[6] & 0x0F | 0x50, digest[7], digest[8] & 0x3F | 0x80)) + digest[9:16]).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


GOSTACK_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:gostack")


def named_id(kind: str, *names: str) -> str:
    """Return the id of a thing whose name is its identity, as a keypair of a project or a zone."""
    return str(uuid.uuid5(GOSTACK_NAMESPACE, "\0".join((kind, *names))))


def to_record(envelope: Envelope, topic: str, key: str = "", partition: int | None = None) -> Record:
    """Return the record of an envelope; its key is the aggregate's id unless another is passed."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", envelope.id.encode()),
        ("ce_type", envelope.data.type_name.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_subject", str(envelope.subject).encode()),
        ("ce_time", envelope.time.isoformat().encode()),
        ("ce_correlationid", envelope.correlation.encode()),
        ("content-type", b"application/json"),
    ]
    optional: Mapping[str, str | int | None] = {
        "ce_causationid": envelope.causation,
        "ce_actor": envelope.actor,
        "ce_project": envelope.project,
        "ce_reason": envelope.reason,
        "ce_aggversion": envelope.aggversion,
        "ce_verdict": envelope.verdict,
        "ce_ifmatch": envelope.if_match,
        "ce_fingerprint": envelope.fingerprint,
        "traceparent": envelope.traceparent,
        "ce_causeplace": envelope.cause_place,
        "ce_taskid": envelope.task,
    }
    headers += [(name, str(value).encode()) for name, value in optional.items() if value not in (None, "")]
    return Record(
        topic=topic,
        key=(key or envelope.subject.id).encode(),
        value=envelope.data.model_dump_json(exclude_defaults=True).encode(),
        headers=tuple(headers),
        partition=partition,
    )


def read(name: str, value: bytes) -> Message:
    """Return the message that any release wrote under this type name with this data.

    Raises KeyError for a name that is not known, ValueError for data that is not so.
    """
    message = MESSAGES.get(name)
    if message is None:
        name, value = upcast(name, value)
        message = MESSAGES[name]
    return message.model_validate_json(value)


def class_of(name: str) -> type[Message]:
    """Return the class that data of this type name is read as. Raises KeyError."""
    return MESSAGES[today(name)]


def names_of(message: type[Message]) -> tuple[str, ...]:
    """Return every type name that this message was ever written as, today's first."""
    return (message.type_name, *earlier(message.type_name))


def from_record(record: Record) -> Envelope:
    """Return the envelope in a record.

    Raises UnknownMessage, and nothing else, for whatever is wrong with it: a reader that dies of a record would die
    of it again after every start.
    """
    try:
        # Decoded together: one by one takes longer than all else here but the data.
        names, values = zip(*record.headers, strict=True) if record.headers else ((), ())
        texts = b"\0".join(values).decode().split("\0")
        if values and len(texts) != len(values):
            raise ValueError("a header holds a NUL, which no database can")
        found = _attributes(names)((*texts, *_ABSENT.values()))
        ident, written, subject, time, source, correlation, causation, actor, project, reason = found[:10]
        aggversion, verdict, if_match, fingerprint, traceparent, earlier_traceparent, cause_place, task = found[10:]
        # By place: naming them takes as long as all the rest of it.
        return Envelope(
            _uuid(ident),
            read(written, record.value),
            Key.parse(subject),
            _moment(time),
            source,
            correlation,
            causation,
            actor,
            project,
            reason,
            None if aggversion is None else int(aggversion),
            verdict,
            None if if_match is None else int(if_match),
            fingerprint,
            traceparent or earlier_traceparent,
            cause_place,
            task,
            written,
        )
    except KeyError as missing:
        raise UnknownMessage(what=f"{missing} is not a known type or header", place=record.place) from missing
    except TypeError as missing:
        raise UnknownMessage(what=f"a header has no value ({missing})", place=record.place) from missing
    except (ValueError, RecursionError) as wrong:
        raise UnknownMessage(what=str(wrong)[:500], place=record.place) from wrong


_REQUIRED = ("ce_id", "ce_type", "ce_subject", "ce_time", "ce_source", "ce_correlationid")
_ABSENT = {
    "ce_causationid": "",
    "ce_actor": SYSTEM,
    "ce_project": "",
    "ce_reason": "",
    "ce_aggversion": None,
    "ce_verdict": None,
    "ce_ifmatch": None,
    "ce_fingerprint": "",
    "traceparent": "",
    # Earlier releases wrote it with the prefix of an attribute.
    "ce_traceparent": "",
    "ce_causeplace": "",
    "ce_taskid": "",
}
"""Header -> the value that counts where the header is missing."""


@lru_cache(maxsize=1024)
def _attributes(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a function that picks an envelope's attributes, in the order of its fields, out of the values of these
    headers followed by the defaults of missing ones. Few sets of names ever occur. Raises KeyError for a required
    header that is missing."""
    place = {name: number for number, name in enumerate(_ABSENT, len(names))}
    place |= {name: number for number, name in enumerate(names)}
    return itemgetter(*(place[name] for name in (*_REQUIRED, *_ABSENT)))


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def _uuid(text: str) -> str:
    if not _UUID(text):
        raise ValueError(f"{text!r} is no UUID in its canonical form")
    return text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say how far from UTC it is")
    return moment
