"""Every setting of every process, in one table.

Why one table: an operator reads one page, `gs config show` prints what is in force and where it came from, and no
process has a private knob. Values come, in this order of precedence, from the environment
(`GOSTACK_<SECTION>__<NAME>`), from the TOML file that `GOSTACK_CONFIG` names, and from the defaults below.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_VARIABLE = "GOSTACK_CONFIG"
PREFIX = "GOSTACK_"


class SettingWrong(Exception):
    """The value of a setting is well formed, and names something that cannot be used, such as a missing file."""


class Section(BaseModel):
    """A group of settings. Unknown names are refused, so that a typing error is found at start."""

    model_config = ConfigDict(extra="forbid")


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


class Worker(Section):
    """The workers of the write side: engine and scheduler."""

    batch: int = Field(500, ge=1, le=5000, description="records a step takes at most")
    pace: float = Field(0.04, ge=0, le=1, description="seconds between steps under load: fewer, larger steps cost less")
    instance: str = Field(
        "",
        max_length=200,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="this worker's name in its group, its own and the same at each start: started again, it goes on at "
        "once; empty: after session_timeout",
    )
    session_timeout: float = Field(10.0, ge=6, le=60, description="seconds until a dead worker's partitions move")
    stall_timeout: float = Field(60.0, ge=5, description="seconds of lag without progress until a worker ends itself")
    inbox_keep: float = Field(7 * 86400.0, ge=60, description="seconds a handled record's id is remembered")


class Instances(Section):
    """Policy for all instances: how long they and their jobs are waited for."""

    purge_after: float = Field(86400.0, ge=0, description="seconds a soft-deleted instance is kept")
    job_deadline: float = Field(120.0, gt=0, description="seconds a step may take unless its job says otherwise")


class Scheduling(Section):
    """Policy of the schedulers, and the cell that this machine's hosts belong to."""

    cell: str = Field("default", description="the cell that this machine's hosts join")
    vcpu_ratio: float = Field(4.0, gt=0, description="virtual CPUs promised for each physical one")
    memory_ratio: float = Field(1.0, gt=0, description="memory promised for each byte there is")
    disk_ratio: float = Field(1.0, gt=0, description="disk promised for each byte there is")
    beat_grace: float = Field(15.0, gt=0, description="seconds without a heartbeat until a host is suspect")


class Images(Section):
    """The image store, which keeps the bytes of images by their SHA-256."""

    store: str = Field(".gostack/images", description="directory, or http(s) URL, that agents read images from")
    max_size: int = Field(64 << 30, ge=1 << 20, description="bytes an uploaded image may have")


class Agent(Section):
    """The agent, which runs on each host."""

    name: str = Field("", description="name the host registers under; empty means the machine's host name")
    driver: Literal["libvirt", "simulated"] = Field("libvirt", description="what runs the guests")
    simulated: int = Field(1, ge=1, le=10000, description="simulated hosts this process carries")
    libvirt_uri: str = Field("qemu:///system", description="libvirt connection of this host")
    state: str = Field(".gostack/agent", description="directory for the journal, disks and cached images")
    zone: str = Field("default", description="zone a new host registers in")
    address: str = Field("127.0.0.1", description="management address: the agent's own endpoint and VNC bind to it")
    port: int = Field(7490, ge=0, le=65535, description="TCP port of the agent's endpoint; 0 picks a free one")
    control: str = Field("http://127.0.0.1:7481", description="base URL at which the API serves agents")
    uplink: str = Field("", description="network interface that joins this host's guest networks to other hosts'")
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

    endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="URL of an OTLP collector (HTTP, protobuf), such as http://127.0.0.1:4318; empty: no traces. "
        "Its credentials go into the environment: OTEL_EXPORTER_OTLP_HEADERS",
    )
    sample: float = Field(
        1.0, ge=0, le=1, description="share of requests that are traced, of those that bring no traceparent with them"
    )


class Settings(BaseSettings):
    """All settings of a process, by section."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    log: LogSettings = Field(default_factory=lambda: LogSettings())
    db: Database = Field(default_factory=lambda: Database())
    api: Api = Field(default_factory=lambda: Api())
    worker: Worker = Field(default_factory=lambda: Worker())
    instances: Instances = Field(default_factory=lambda: Instances())
    scheduling: Scheduling = Field(default_factory=lambda: Scheduling())
    images: Images = Field(default_factory=lambda: Images())
    agent: Agent = Field(default_factory=lambda: Agent())
    secrets: SecretSettings = Field(default_factory=lambda: SecretSettings())
    webhooks: Webhooks = Field(default_factory=lambda: Webhooks())
    metrics: Metrics = Field(default_factory=lambda: Metrics())
    traces: Traces = Field(default_factory=lambda: Traces())

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

    Raises SettingWrong where GOSTACK_CONFIG names no file, pydantic.ValidationError naming each wrong field.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingWrong(f"{CONFIG_VARIABLE} names {path}, which is no file")
    return Settings()


def explain(settings: Settings) -> list[dict[str, Any]]:
    """List every setting with its value and where that came from, for `gs config show`."""
    path = os.environ.get(CONFIG_VARIABLE)
    in_file: dict[str, Any] = tomllib.loads(Path(path).read_text()) if path else {}
    rows = []
    for section, model in settings:
        for name, field in type(model).model_fields.items():
            if f"{PREFIX}{section}__{name}".upper() in {key.upper() for key in os.environ}:
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
        f"`{CONFIG_VARIABLE}` names (`[section]`, `name = value`), else it is the default. An unknown name is refused.",
        "`gs config show` prints what is in force, and where each value came from.",
    ]
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        lines += [
            "",
            f"## {section}",
            "",
            (model.__doc__ or "").strip(),
            "",
            "| name | default | meaning |",
            "|---|---|---|",
        ]
        for name, each in model.model_fields.items():
            default = each.get_default(call_default_factory=True)
            lines.append(f"| `{section}.{name}` | `{default!r}` | {each.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
