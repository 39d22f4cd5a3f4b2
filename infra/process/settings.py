"""Every setting of every process, in one table.

Why one table: an operator reads one page, `gs config show` prints what is in force and where it came from, and no
process has a private knob. Values come, in this order of precedence, from the environment
(`GOSTACK_<SECTION>__<NAME>`), from the TOML file that `GOSTACK_CONFIG` names, and from the defaults below.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from domain.core.names import wrong_with
from infra.process.ranges import any_ranges, checked_any_ranges, checked_ranges

CONFIG_VARIABLE = "GOSTACK_CONFIG"
PREFIX = "GOSTACK_"


class SettingWrong(Exception):
    """The value of a setting is well formed, and names something that cannot be used, such as a missing file."""


def _plain_word(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]*", text):
        raise ValueError("letters, digits, dots, hyphens and underscores are allowed")
    return text


def _url(text: str) -> str:
    if text and not re.fullmatch(r"https?://\S+", text):
        raise ValueError("an address that begins with http:// or https:// is needed")
    return text


def _name(text: str) -> str:
    if text and (why := wrong_with(text)):
        raise ValueError(why)
    return text


class Section(BaseModel):
    """A group of settings. Unknown names are refused, so that a typing error is found at start."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class LogSettings(Section):
    """The message log; `format` and `level` are of the lines that a process writes about itself, to standard error."""

    bootstrap: str = Field("127.0.0.1:19092", description="Kafka bootstrap servers, comma separated")
    request_timeout: float = Field(20.0, gt=0, description="seconds until a request to Kafka counts as failed")
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="json: an object a line; text: for people; auto: text on a terminal, else json"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lines below it are not written; debug has each request, command, step and job"
    )


class Database(Section):
    """PostgreSQL, which holds the state of the write side and the read models."""

    dsn: str = Field("postgresql://gostack@127.0.0.1:15432/gostack", description="libpq connection string")
    pool_size: int = Field(10, ge=1, le=200, description="connections a process may hold")


class Api(Section):
    """The REST API: where it listens, and how much it takes on at once."""

    listen: str = Field("127.0.0.1", description="address the API binds to")
    port: int = Field(7480, ge=1, le=65535, description="TCP port of the API")
    names: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._*, -]*$",
        description="further names that requests may call the API by (Host), comma separated: that of a proxy in front "
        "of it, for example; localhost, loopback addresses, the machine's own name and `api.listen` are allowed "
        "anyway, every address where that is 0.0.0.0 or ::; * allows any name",
    )
    hosts_listen: str = Field("127.0.0.1", description="address at which hosts' agents fetch secrets and images")
    hosts_port: int = Field(7481, ge=1, le=65535, description="TCP port for agents")
    verdict_timeout: float = Field(2.0, gt=0, le=60, description="seconds a request waits for the engine's verdict")
    log_timeout: float = Field(10.0, gt=0, le=60, description="seconds a request waits for the log; then it gets 503")
    read_timeout: float = Field(10.0, gt=0, le=60, description="seconds a read with after= waits for its projection")
    replay_timeout: float = Field(
        45.0,
        gt=0,
        le=600,
        description="seconds in which the past must be gone through again, for gs scheduler simulate",
    )
    max_body: int = Field(1 << 20, ge=1024, description="bytes a JSON request body may have")
    ready_lag: int = Field(
        10_000, ge=0, description="events that the read models may be behind while /readyz says ready"
    )
    ready_waiting: int = Field(
        10_000, ge=0, description="records that may wait for engine, or for scheduler, while /readyz says ready"
    )
    ready_age: float = Field(
        60.0,
        gt=0,
        description="seconds that an event may wait for the read models, or a record for engine or scheduler, while "
        "/readyz says ready",
    )
    max_in_flight: int = Field(1000, ge=1, description="commands that may wait for a verdict; more are answered 429")
    max_waiting: int = Field(
        10_000,
        ge=1,
        description="records that may wait for engine, or for scheduler; past them new work gets 429",
    )
    max_tasks: int = Field(20_000, ge=1, description="tasks of the cell that may be under way; more are answered 429")
    max_project_tasks: int = Field(10_000, ge=1, description="the same, of one project")


class Http(Section):
    """Limits of every HTTP server: the API, its part for agents, agents, the metadata service, the health servers."""

    header_bytes: int = Field(
        65_536,
        ge=4096,
        le=1 << 20,
        description="bytes that request line and header fields may have together; past them 431 is answered",
    )
    header_timeout: float = Field(
        10.0, gt=0, le=600, description="seconds in which they have to come; past them 408 is answered"
    )
    body_timeout: float = Field(
        30.0, gt=0, le=3600, description="seconds that may pass without a byte of a body; past them 408 is answered"
    )
    body_rate: int = Field(
        1024,
        ge=0,
        description="bytes a second that must come of a body, on average over each minute that it is waited for; below "
        "that 408 is answered; 0: no such limit",
    )
    send_timeout: float = Field(
        60.0, gt=0, le=3600, description="seconds in which a client may take nothing of an answer, until it is cut off"
    )
    connections: int = Field(
        512,
        ge=1,
        description="connections that one address, or one /64 of IPv6, may have to a server at once; past them 429 is "
        "answered",
    )


class Worker(Section):
    """The workers of the write side: engine and scheduler."""

    batch: int = Field(500, ge=1, le=5000, description="records a step takes at most")
    pace: float = Field(0.04, ge=0, le=1, description="seconds between steps under load: fewer, larger steps cost less")
    instance: Annotated[str, AfterValidator(_plain_word)] = Field(
        "",
        max_length=200,
        description="this worker's name in its group, its own and the same at each start: started again, it goes on at "
        "once; empty: after session_timeout",
    )
    session_timeout: float = Field(10.0, ge=6, le=60, description="seconds until a dead worker's partitions move")
    stall_timeout: float = Field(60.0, ge=5, description="seconds of lag without progress until a worker ends itself")
    inbox_keep: float = Field(7 * 86400.0, ge=60, description="seconds a handled record's id is remembered")


class Instances(Section):
    """Policy for all instances: how long they and their jobs are waited for."""

    purge_after: float = Field(86400.0, ge=0, description="seconds a soft-deleted instance is kept")
    resize_confirm_after: float = Field(
        0.0, ge=0, description="seconds until a resize is confirmed by itself; 0: never"
    )
    offload_after: float = Field(0.0, ge=0, description="seconds until a shelved instance's host is freed; 0: at once")
    job_deadline: float = Field(120.0, gt=0, description="seconds a step may take unless its job says otherwise")


class Scheduling(Section):
    """Policy of the schedulers, and the cell that this machine's hosts belong to."""

    cell: str = Field("default", description="the cell that this machine's hosts join")
    vcpu_ratio: float = Field(4.0, gt=0, description="virtual CPUs promised for each physical one")
    memory_ratio: float = Field(1.0, gt=0, description="memory promised for each byte there is")
    disk_ratio: float = Field(1.0, gt=0, description="disk promised for each byte there is")
    beat_grace: float = Field(15.0, gt=0, description="seconds without a heartbeat until a host is suspect")


class Networks(Section):
    """The networks of guests."""

    reserved: Annotated[str, AfterValidator(checked_any_ranges)] = Field(
        "",
        description="IPv4 and IPv6 ranges, comma separated, that no network may overlap: those of the hosts' uplinks "
        "and of services that guests are to reach one day; those of floating addresses are reserved, too",
    )
    floating: Annotated[str, AfterValidator(checked_ranges)] = Field(
        "", description="IPv4 ranges, comma separated, of floating addresses: of the uplinks' wire, or routed to it"
    )

    def reserved_range(self, block: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network | None:
        """Return a reserved range, or one of floating addresses, that overlaps this one; None where none does."""
        taken = (*any_ranges(self.reserved), *any_ranges(self.floating))
        return next((each for each in taken if each.version == block.version and each.overlaps(block)), None)


class Images(Section):
    """The image store, which keeps the bytes of images by their SHA-256."""

    store: str = Field(".gostack/images", description="directory, or http(s) URL, that agents read images from")
    max_size: int = Field(64 << 30, ge=1 << 20, description="bytes an uploaded image may have")
    max_virtual_size: int = Field(16 << 40, ge=1 << 20, description="bytes that a disk made of an image may have")
    workers: int = Field(2, ge=1, le=64, description="images that one API fetches, verifies or converts at once")
    upload_timeout: float = Field(86400.0, gt=0, description="seconds without bytes until an upload has failed")
    fetch_timeout: float = Field(3600.0, gt=0, description="seconds that fetching an image from its URL may take")
    convert_timeout: float = Field(3600.0, gt=0, description="seconds that a conversion of an image may take")
    allow_private: bool = Field(False, description="images may be fetched from addresses of no public internet")
    unused_keep: float = Field(86400.0, ge=0, description="seconds for which unused bytes are kept, on hosts too")


class Agent(Section):
    """The agent, which runs on each host."""

    name: Annotated[str, AfterValidator(_name)] = Field(
        "", description="name the host registers under; empty means the machine's host name"
    )
    driver: Literal["libvirt", "simulated"] = Field("libvirt", description="what runs the guests")
    simulated: int = Field(1, ge=1, le=10000, description="simulated hosts this process carries")
    libvirt_uri: str = Field("qemu:///system", description="libvirt connection of this host")
    state: str = Field(".gostack/agent", description="directory for the journal, disks and cached images")
    zone: Annotated[str, AfterValidator(_name)] = Field("default", description="zone a new host registers in")
    address: str = Field("127.0.0.1", description="management address: the agent's own endpoint and VNC bind to it")
    port: int = Field(7490, ge=0, le=65535, description="TCP port of the agent's endpoint; 0 picks a free one")
    control: str = Field("http://127.0.0.1:7481", description="base URL at which the API serves agents")
    metadata_connections: int = Field(
        32, ge=1, description="connections that one guest may have to the metadata service at once"
    )
    metadata_user: str = Field("nobody", description="user that the metadata service runs as")
    metadata_token: Literal["optional", "required"] = Field(
        "optional", description="whether guests' requests for metadata must carry a token (as Amazon's IMDSv2)"
    )
    vendor_data: str = Field(
        "",
        description="JSON file with an object, at most 64 KiB, that every guest is told as its vendor data; cloud-init "
        "takes its configuration from the key cloud-init; empty: none",
    )
    uplink: str = Field("", description="network interface that joins this host's guest networks to other hosts'")
    closed: Annotated[str, AfterValidator(checked_ranges)] = Field(
        "",
        description="IPv4 ranges, comma separated, that no guest reaches by its network's way out, besides the hosts' "
        "uplinks: those of what trusts this host for its address, such as Kafka",
    )
    encrypt: bool = Field(
        False,
        description="whether what guests send from host to host is encrypted (WireGuard, UDP port 51820 of the "
        "uplinks); the same on all hosts",
    )
    parallel: int = Field(8, ge=1, le=256, description="jobs that run side by side on one host")
    held: int = Field(
        2000, ge=1, le=100_000, description="dispatches that a process may have unfinished; past them none is fetched"
    )
    heartbeat: float = Field(3.0, gt=0, description="seconds between heartbeats")
    reconcile: float = Field(5.0, gt=0, description="seconds between full looks at what the hypervisor runs")
    keep_guests: bool = Field(False, description="simulated: keep guests in files, over a restart of the agent")
    latency: float = Field(0.0, ge=0, description="seconds a simulated job takes")
    failures: dict[str, float] = Field(default_factory=dict, description="simulated: job name -> chance that it fails")


class SecretSettings(Section):
    """Files with keys and tokens: never the values, so that no listing of settings shows one."""

    key_file: str = Field(".gostack/secrets/key", description="file with the key that encrypts secrets at rest")
    agent_token_file: str = Field(
        ".gostack/secrets/agent-token", description="file with the token between API and agents"
    )

    def agent_token(self) -> str:
        """Read the token that API and agents share.

        Raises SettingWrong where its file is missing, no text, or empty."""
        names = f"secrets.agent_token_file names {self.agent_token_file}, which"
        try:
            token = Path(self.agent_token_file).read_text().strip()
        except OSError as error:
            raise SettingWrong(f"{names} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SettingWrong(f"{names} is no text") from error
        # An empty one would let in whoever sends none.
        if not token:
            raise SettingWrong(f"{names} is empty")
        return token


class Webhooks(Section):
    """Webhooks: events that are sent to users' own endpoints."""

    allow_private: bool = Field(
        False, description="endpoints may have addresses that are not of the public internet: loopback, private, others"
    )
    timeout: float = Field(10.0, gt=0, le=20, description="seconds an endpoint may take to answer")
    attempts: int = Field(16, ge=1, le=1000, description="attempts in a row that fail until a webhook is disabled")
    first_pause: float = Field(5.0, gt=0, le=3600, description="seconds until the second attempt; doubled at each one")
    longest_pause: float = Field(3600.0, gt=0, le=86400, description="seconds between two attempts at most")
    most: int = Field(100, ge=0, le=1000, description="webhooks there may be")


class Metrics(Section):
    """The health server of each process: /metrics, /healthz and /readyz at a port of its own; 0 is none."""

    listen: str = Field("127.0.0.1", description="address the ports below bind to")
    engine: int = Field(0, ge=0, le=65535, description="TCP port of the engine's")
    scheduler: int = Field(0, ge=0, le=65535, description="TCP port of the scheduler's")
    timers: int = Field(0, ge=0, le=65535, description="TCP port of the timers'")
    projector: int = Field(0, ge=0, le=65535, description="TCP port of the projector's")
    webhooks: int = Field(0, ge=0, le=65535, description="TCP port of the webhooks'")
    api: int = Field(0, ge=0, le=65535, description="TCP port of the API's")
    agent: int = Field(0, ge=0, le=65535, description="TCP port of the agent's")
    every: float = Field(5.0, gt=0, le=60, description="seconds between measurements of lag")


class Traces(Section):
    """OpenTelemetry traces, from a request to the hypervisor; off unless there is an endpoint."""

    endpoint: Annotated[str, AfterValidator(_url)] = Field(
        "",
        description="URL of an OTLP collector (HTTP, protobuf), such as http://127.0.0.1:4318; empty: no traces. "
        "Its credentials go into the environment: OTEL_EXPORTER_OTLP_HEADERS",
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="share of requests that are traced, of those that bring no traceparent with them"
    )


class Settings(BaseSettings):
    """All settings of a process, by section."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
    )

    log: LogSettings = Field(default_factory=lambda: LogSettings())
    db: Database = Field(default_factory=lambda: Database())
    api: Api = Field(default_factory=lambda: Api())
    http: Http = Field(default_factory=lambda: Http())
    worker: Worker = Field(default_factory=lambda: Worker())
    instances: Instances = Field(default_factory=lambda: Instances())
    scheduling: Scheduling = Field(default_factory=lambda: Scheduling())
    networks: Networks = Field(default_factory=lambda: Networks())
    images: Images = Field(default_factory=lambda: Images())
    agent: Agent = Field(default_factory=lambda: Agent())
    secrets: SecretSettings = Field(default_factory=lambda: SecretSettings())
    webhooks: Webhooks = Field(default_factory=lambda: Webhooks())
    metrics: Metrics = Field(default_factory=lambda: Metrics())
    traces: Traces = Field(default_factory=lambda: Traces())

    @property
    def own_ports(self) -> frozenset[int]:
        """The TCP ports of all servers that GoStack's processes may have on this machine."""
        health = {port for port in self.metrics.model_dump().values() if isinstance(port, int)}
        return frozenset({self.api.port, self.api.hosts_port, self.agent.port} | health) - {0}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file of GOSTACK_CONFIG; use no other source."""
        path = os.environ.get(CONFIG_VARIABLE)
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


def load() -> Settings:
    """Read the settings of this process.

    Raises SettingWrong where GOSTACK_CONFIG names no file or one that is no TOML, or where a name in it or in the
    environment is that of no setting; pydantic.ValidationError naming each wrong field.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingWrong(f"{CONFIG_VARIABLE} names {path}, which is no file")
    try:
        in_file = tomllib.loads(Path(path).read_text()) if path else {}
    except OSError as error:
        raise SettingWrong(f"{CONFIG_VARIABLE} names {path}, which cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingWrong(f"{CONFIG_VARIABLE} names {path}, which is no TOML: {error}") from error
    unknown = [*_unknown_in_environment(), *_unknown_in_file(in_file, path or "")]
    if unknown:
        raise SettingWrong("; ".join(unknown))
    return Settings()


def names() -> list[str]:
    """Return the name of every setting, as `section.name`."""
    return [f"{section}.{name}" for section, model in _sections() for name in model.model_fields]


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for section, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        yield section, field.annotation


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "__").upper()


def _unknown_in_environment() -> Iterator[str]:
    """Yield a sentence for each variable that is written like a setting's and belongs to none."""
    known = names()
    for variable in sorted(os.environ):
        # A setting that is a table has its keys in further parts of the name.
        setting = ".".join(variable.lower().removeprefix(PREFIX.lower()).split("__")[:2])
        if variable.upper().startswith(PREFIX) and "__" in variable and setting not in known:
            yield f"{variable} is the name of no setting{_meant(setting, known, _variable)}"


def _unknown_in_file(in_file: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a sentence for each name in the file that is that of no section, or of no setting."""
    sections = dict(_sections())
    for section, values in in_file.items():
        if section not in sections:
            yield f"[{section}] in {path} is the name of no section{_meant(section, sections)}"
        elif isinstance(values, dict):
            for name in values.keys() - sections[section].model_fields.keys():
                full = f"{section}.{name}"
                yield f"{full} in {path} is the name of no setting{_meant(full, names())}"


def _meant(name: str, known: Iterable[str], written: Callable[[str], str] = str) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    return f": did you mean {written(nearest[0])}?" if nearest else ""


def explain(settings: Settings) -> list[dict[str, Any]]:
    """List every setting with its value and where that came from, for `gs config show`."""
    path = os.environ.get(CONFIG_VARIABLE)
    in_file: dict[str, Any] = tomllib.loads(Path(path).read_text()) if path else {}
    rows = []
    for section, model in settings:
        for name, field in type(model).model_fields.items():
            if _variable(f"{section}.{name}") in {key.upper() for key in os.environ}:
                origin = "environment"
            elif name in in_file.get(section, {}):
                origin = f"file {path}"
            else:
                origin = "default"
            rows.append(
                {
                    "name": f"{section}.{name}",
                    "value": getattr(model, name),
                    "origin": origin,
                    "description": field.description,
                }
            )
    return rows


def page() -> str:
    """Return every setting as a page in Markdown, for docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Printed from the table in `infra/process/settings.py` (`python -m infra.process.settings`); a test holds this "
        "page to it.",
        "",
        f"A value comes from the environment (`{PREFIX}<SECTION>__<NAME>`), else from the TOML file that",
        f"`{CONFIG_VARIABLE}` names (`[section]`, `name = value`), else it is the default. A name that no setting has",
        "is refused at the start, which says the nearest one that there is.",
        "`gs config show` prints what is in force, and where each value came from.",
    ]
    for section, model in _sections():
        lines += ["", f"## {section}", "", (model.__doc__ or "").strip(), ""]
        lines += ["| name | default | meaning |", "|---|---|---|"]
        for name, each in model.model_fields.items():
            default = each.get_default(call_default_factory=True)
            lines.append(f"| `{section}.{name}` | `{default!r}` | {each.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
