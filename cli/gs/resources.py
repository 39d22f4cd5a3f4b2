"""The kinds of resources that `gs` shows: columns and list options of each.

Why a table: list, show and delete of every group are made from a row here, so they look and behave alike.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

from cli.gs.columns import Column, age, bytes_in_words, count, place, used_of_capacity
from cli.gs.parsing import range_of, time_of
from domain.core.times import FORMS


@dataclass(frozen=True)
class Narrowing:
    """An option of a list command, and the query parameter it becomes."""

    flag: str
    help: str
    parameter: str = ""
    switch: bool = False
    of: str = ""
    """Source of its completion: the noun of a kind, for names and IDs, or `noun.field` for that field alone."""
    known: Callable[[], Iterable[str]] | None = None
    """Function that returns the words of its completion."""
    several: bool = False
    """Whether the option takes a list: a,b."""
    read: Callable[[str], str] | None = None
    """Function that checks what was given, and returns it as the service takes it."""

    @property
    def name(self) -> str:
        """The name of the query parameter."""
        return self.parameter or self.flag.lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class Resource:
    """A kind of resource, which the API serves under its plural."""

    noun: str
    plural: str
    columns: tuple[Column, ...]
    long: tuple[Column, ...] = ()
    """More columns, which --long shows."""
    narrowings: tuple[Narrowing, ...] = ()
    named: bool = True
    """Whether its names may be used instead of ids."""
    selects: bool = True
    """Whether the service leaves out fields that were not requested; otherwise gs does."""
    keys: tuple[str, ...] = ()
    """The fields that identify a resource, if they are not its name and its id."""
    route: str = ""
    """Path of the kind on the service, if it is not its plural."""
    deletable: bool = False
    """Whether the service keeps what was deleted, and lists it if asked to."""
    sorts: bool = True
    """Whether the service sorts its list by a field that is named."""

    @property
    def known_by(self) -> tuple[str, ...]:
        """The fields that identify a resource of this kind."""
        return self.keys or (("name", "id") if self.named else ("id",))

    def path(self, ident: str = "", *below: str) -> str:
        """Return the URL path of the list, of a resource, or of a path below it."""
        return "/".join(("", self.route or self.plural, *filter(None, (ident, *below))))


TIME = f"{FORMS}; without zone, in this terminal's"
RANGE = "FROM,TO, of which one may be empty; each as --at takes it"
ID, NAME, CREATED = Column("id"), Column("name"), Column("created")
AGE = Column("created", "age", age)
PROJECT = Column("project_id", "project")
BY_NAME = Narrowing("--name", "Only with this name; * stands for anything: 'web*'.")
BY_PROJECT = Narrowing("--project-id", "Only of this project.", of="project")
ENABLED = Narrowing("--status", "Only in this status: enabled or disabled.", known=lambda: ("enabled", "disabled"))
BY_INSTANCE = Narrowing("--instance", "Only of this instance (name or ID).", of="instance")


def by_status(known: Callable[[], Iterable[str]]) -> Narrowing:
    """Return the option --status of a kind that has these statuses."""
    return Narrowing("--status", "Only in one of these statuses: a,b.", known=known, several=True)


def _words_of(module: str, name: str) -> Callable[[], Iterable[str]]:
    """Return a function that imports the words only when they are asked for: that takes longer than most commands."""
    return lambda: getattr(import_module(module), name)


def kinds() -> Iterable[str]:
    """Return the names of the kinds of aggregates."""
    from domain.aggregates import AGGREGATES

    return AGGREGATES


INSTANCE = Resource(
    "instance",
    "instances",
    (
        ID,
        NAME,
        Column("status"),
        Column("addresses"),
        Column("flavor.name", "flavor"),
        Column("image.name", "image"),
        Column("host.name", "host"),
        AGE,
    ),
    long=(Column("zone"), Column("key_name", "key"), PROJECT, Column("user_id", "user"), CREATED, Column("updated")),
    narrowings=(
        BY_NAME,
        by_status(_words_of("domain.instance.status", "STATUSES")),
        Narrowing("--ip", "Only with this IPv4 address."),
        Narrowing("--host-id", "Only on this host (name or ID).", of="host"),
        Narrowing("--host-name", "Only on the host with this name.", of="host.name"),
        Narrowing("--flavor-ids", "Only of these flavors (names or IDs): a,b.", of="flavor", several=True),
        Narrowing("--image-id", "Only made of this image (name or ID).", of="image"),
        Narrowing("--key-name", "Only with this keypair.", of="keypair.name"),
        Narrowing("--zone", "Only in this zone.", of="zone.name"),
        BY_PROJECT,
        Narrowing("--user-id", "Only of this user."),
        Narrowing("--create-date", f"Only created between two times: {RANGE}.", read=range_of),
        Narrowing("--update-date", f"Only changed between two times: {RANGE}.", read=range_of),
        Narrowing("--at", f"What was there then, as the other options say it was: {TIME}.", read=time_of),
    ),
    deletable=True,
)
DONE = (ID, NAME, Column("status"), Column("task_id", "task"), Column("command_id", "command"))
"""Columns of an instance whose task was not waited for."""
INNER_STATUS = (Column("vm_state"), Column("power"), Column("task.action", "task"), Column("task.step", "step"))
FLAVOR = Resource(
    "flavor",
    "flavors",
    (
        ID,
        NAME,
        Column("core"),
        Column("memory"),
        Column("disk"),
        Column("policy"),
        Column("mode"),
        Column("multi_queue"),
        Column("extra"),
        AGE,
    ),
    narrowings=(
        BY_NAME,
        Narrowing("--live_resize", "Only flavors that an instance can be live-resized to.", switch=True),
    ),
    deletable=True,
)
IMAGE = Resource(
    "image",
    "images",
    (
        *(ID, NAME, Column("status"), Column("format"), Column("size"), Column("virtual_size"), Column("arch")),
        *(Column("visibility"), AGE),
    ),
    narrowings=(
        *(BY_NAME, BY_PROJECT, by_status(_words_of("domain.image", "ImageStatus"))),
        Narrowing("--visibility", "Only of this visibility: private or public.", known=lambda: ("private", "public")),
    ),
    deletable=True,
)
KEYPAIR = Resource(
    "keypair",
    "keypairs",
    (ID, NAME, Column("fingerprint"), AGE),
    narrowings=(BY_NAME, BY_PROJECT),
    deletable=True,
)
NETWORK = Resource(
    "network",
    "networks",
    (ID, NAME, Column("cidr"), Column("cidr6"), Column("segment"), Column("ports"), AGE),
    narrowings=(BY_NAME, BY_PROJECT),
    deletable=True,
)
PORT = Resource(
    "port",
    "ports",
    (
        ID,
        NAME,
        Column("network_name", "network"),
        Column("ip"),
        Column("ip6"),
        Column("mac"),
        Column("instance_id", "instance"),
        Column("keep"),
        AGE,
    ),
    narrowings=(
        BY_NAME,
        Narrowing("--network", "Only of this network (name or ID).", of="network"),
        BY_INSTANCE,
        Narrowing("--ip", "Only with this address."),
        Narrowing("--security-group", "Only in this security group (name or ID).", of="security-group"),
        BY_PROJECT,
    ),
)
HOST = Resource(
    "host",
    "hosts",
    (
        ID,
        NAME,
        Column("zone"),
        Column("cell"),
        Column("status"),
        Column("health"),
        Column("instances"),
        Column("vcpus", form=used_of_capacity),
        Column("memory"),
        Column("disk"),
        AGE,
    ),
    narrowings=(
        BY_NAME,
        Narrowing("--zone", "Only in this zone.", of="zone.name"),
        Narrowing("--cell", "Only of this cell.", of="cell"),
        ENABLED,
        Narrowing(
            "--health",
            "Only in one of these states of health: up,suspect.",
            known=lambda: ("up", "suspect"),
            several=True,
        ),
    ),
)
ZONE = Resource(
    "zone",
    "zones",
    (ID, NAME, Column("cell"), Column("description"), AGE),
    narrowings=(BY_NAME,),
    deletable=True,
)
TASK = Resource(
    "task",
    "tasks",
    (
        ID,
        Column("action"),
        Column("status"),
        Column("step"),
        Column("steps_done", "done"),
        Column("steps", "of", count),
        Column("instance_name", "instance"),
        Column("accepted", "age", age),
        Column("finished"),
    ),
    narrowings=(
        by_status(lambda: ("queued", "running", "cancelling", "undoing", "finished", "failed", "cancelled")),
        Narrowing("--action", "Only of this action.", known=_words_of("domain.instance.actions", "ACTIONS")),
        BY_INSTANCE,
        BY_PROJECT,
    ),
    named=False,
)
JOB = Resource(
    "job",
    "jobs",
    (
        ID,
        NAME,
        Column("status"),
        Column("direction"),
        Column("host_name", "host"),
        Column("attempt"),
        Column("task_id", "task"),
        Column("dispatched", "age", age),
        Column("finished"),
    ),
    narrowings=(
        BY_NAME,
        by_status(lambda: ("dispatched", "started", "finished", "failed", "skipped")),
        Narrowing("--task", "Only of this task.", of="task"),
        BY_INSTANCE,
        Narrowing("--host", "Only sent to this host (name or ID).", of="host"),
    ),
    named=False,
)
MIGRATION = Resource(
    "migration",
    "migrations",
    (
        ID,
        Column("instance_name", "instance"),
        Column("type"),
        Column("status"),
        Column("source_name", "from"),
        Column("destination_name", "to"),
        AGE,
        Column("updated"),
    ),
    narrowings=(
        BY_INSTANCE,
        Narrowing("--host", "Only from or to this host (name or ID).", of="host"),
        by_status(_words_of("domain.instance.migration", "MigrationStatus")),
        Narrowing(
            "--type",
            "Only of these types: a,b.",
            several=True,
            known=_words_of("domain.instance.migration", "MigrationType"),
        ),
        BY_PROJECT,
    ),
    named=False,
)
EVENT = Resource(
    "event",
    "events",
    (Column("id"), Column("time"), Column("type"), Column("subject"), Column("actor"), Column("verdict")),
    narrowings=(
        Narrowing("--subject", "Only of this aggregate: KIND/ID, or ID."),
        Narrowing("--type", "Only of these types: a,b; * stands for anything, as in instance.*."),
        Narrowing("--actor", "Only caused by this user."),
        BY_PROJECT,
        Narrowing("--task", "Only events that this task led to.", of="task"),
        Narrowing("--since", f"Only events since this time: {TIME}.", read=time_of),
        Narrowing("--until", f"Only events until this time: {TIME}.", read=time_of),
    ),
    named=False,
    sorts=False,
)
WEBHOOK = Resource(
    "webhook",
    "webhooks",
    (
        ID,
        NAME,
        Column("url"),
        Column("wanted.types", "types"),
        Column("status"),
        Column("delivery.behind", "behind"),
        Column("delivery.failures", "failures"),
        Column("reason"),
        AGE,
    ),
    narrowings=(BY_NAME, ENABLED, BY_PROJECT),
    deletable=True,
)
CHANGE = Resource("change", "changes", (Column("field"), Column("old"), Column("new")), named=False, selects=False)
CAUSE = Resource(
    "step",
    "steps",
    (Column("time"), Column("actor"), Column("type"), Column("subject"), Column("place", form=place), Column("says")),
    named=False,
    selects=False,
)
DEAD = Resource(
    "dead",
    "dead",
    (ID, Column("status"), Column("type"), Column("subject"), Column("place"), Column("why")),
    named=False,
    selects=False,
    route="events/dead",
)
FILTER = Resource("filter", "filters", (NAME, Column("leaves_out")), named=False, selects=False)
WEIGHT = Resource("weight", "weights", (NAME, Column("weight")), named=False, selects=False)
FILTERED = Resource(
    "filter", "filters", (Column("filter"), Column("left_out"), Column("left"), Column("leaves_out")), named=False
)
SCORE = Resource("score", "best", (Column("host"), Column("score")), named=False)
HOST_SCORE = Resource(
    "score",
    "scores",
    (Column("name", "host"), Column("score"), Column("left_out_by", "left out by"), Column("leaves_out")),
    named=False,
)
LOAD = Resource(
    "fleet",
    "fleets",
    (
        Column("fleet"),
        Column("placed"),
        Column("refused"),
        Column("refusals"),
        Column("hosts_used", "hosts used"),
        Column("hosts", "of"),
        Column("vcpus", form=used_of_capacity),
        Column("memory"),
        Column("disk"),
        Column("largest_flavor", "largest flavor"),
    ),
    named=False,
)
MOVE = Resource("move", "moves", (Column("was"), Column("would"), Column("count")), named=False)
SIMULATED_HOST = Resource(
    "host",
    "hosts",
    (
        Column("name", "host"),
        Column("was.instances", "instances was"),
        Column("would.instances", "would"),
        *(
            Column(path, title, form)
            for field, form in (("vcpus", None), ("memory", bytes_in_words), ("disk", bytes_in_words))
            for path, title in ((f"was.{field}", f"{field} was"), (f"would.{field}", "would"), (field, "of"))
        ),
    ),
)
PLACED = Resource(
    "placement",
    "placements",
    (
        Column("time"),
        Column("instance_id", "instance"),
        Column("vcpus"),
        Column("memory"),
        Column("was.name", "was"),
        Column("would.name", "would"),
        Column("why"),
    ),
    named=False,
)
PARKED = Resource(
    "parked aggregate",
    "parked",
    (ID, Column("since"), Column("why"), Column("place")),
    narrowings=(Narrowing("--kind", "Only of this kind, such as instance.", known=kinds),),
    named=False,
    selects=False,
    sorts=False,
)
CELL = Resource(
    "cell",
    "cells",
    (
        Column("name", "cell"),
        Column("hosts"),
        Column("instances"),
        Column("vcpus", form=used_of_capacity),
        Column("memory"),
        Column("disk"),
        Column("partition"),
    ),
    named=False,
    selects=False,
    keys=("name",),
)
USAGE = Resource(
    "project",
    "usage",
    (
        PROJECT,
        Column("instances"),
        Column("vcpus"),
        Column("memory", form=bytes_in_words),
        Column("disk", form=bytes_in_words),
        Column("ports"),
    ),
    named=False,
    selects=False,
    keys=("project_id",),
)
PROJECTION = Resource(
    "projection",
    "projections",
    (NAME, Column("rows"), Column("lag"), Column("lag_seconds")),
    named=False,
    selects=False,
)
RUN = Resource(
    "run",
    "runs",
    (ID, Column("kind"), Column("status"), Column("actor"), Column("asked"), Column("finished"), Column("problems")),
    named=False,
    selects=False,
    route="projections/runs",
)
SETTING = Resource(
    "setting",
    "settings",
    (NAME, Column("value"), Column("origin"), Column("description")),
    named=False,
    keys=("name",),
    route="config",
)

KINDS: dict[str, Resource] = {
    **{
        each.noun: each
        for each in (INSTANCE, FLAVOR, IMAGE, KEYPAIR, NETWORK, PORT, HOST, ZONE, CELL, TASK, JOB, EVENT, WEBHOOK)
    },
    "config": SETTING,
    "dead": DEAD,
    "parked": PARKED,
    "project": USAGE,
    "projection": PROJECTION,
}
"""The kind of resource of each group; the service has a list of each."""
