"""Apache Kafka, one node, from its released jars: the broker that production has, not a stand-in.

The jars come by Maven from the pinned `pom.xml` beside this file, once, into the cache.
"""

import os
import shutil
import socket
import struct
import uuid
import xml.etree.ElementTree as ElementTree
from base64 import urlsafe_b64encode
from pathlib import Path

from infra.local.account import Account, invoker
from infra.local.layout import Layout
from infra.local.process import Failure, run
from infra.local.server import LOOPBACK, Server, free_port

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
LOGGING = HERE / "log4j2.properties"
ANSWER_LIMIT = 1 << 20

ONE_BROKER = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
"""The settings of a cluster that has one broker, in a container too."""

METADATA = 3  # the protocol's number of this request, and the version of it that is asked for
METADATA_VERSION = 1


def version() -> str:
    """Return the version of Kafka that pom.xml pins. Raises Failure where it names none."""
    spaces = {"m": "http://maven.apache.org/POM/4.0.0"}
    found = ElementTree.parse(POM).findtext("m:dependencies/m:dependency/m:version", namespaces=spaces)
    if not found:
        raise Failure("kafka", f"{POM} names no version")
    return found


def jars(cache: Path | None = None) -> Path:
    """Return the directory with Kafka's jars, which are downloaded at first. Raises Failure."""
    cache = cache or Layout().cache
    library = cache / f"kafka-{version()}" / "lib"
    if library.is_dir():
        return library
    owner = invoker()
    owner.own(cache.parent, 0o755)
    owner.own(cache, 0o755)
    owner.own(library.parent, 0o755)
    fresh = library.with_name(f"lib.{os.getpid()}")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    run(["mvn", "-q", "-B", "-f", str(POM), *goal], account=owner, timeout=600)
    try:
        fresh.rename(library)
    except OSError:
        if not library.is_dir():
            raise
        # Another process had them first.
        shutil.rmtree(fresh)
    return library


def answers(address: str, timeout: float = 1.0) -> bool:
    """Return whether the broker at `host:port` has joined its cluster, which an open port alone does not prove."""
    host, _, port = address.rpartition(":")
    no_topics = 0
    request = struct.pack(">hhihi", METADATA, METADATA_VERSION, 1, -1, no_topics)
    try:
        with socket.create_connection((host, int(port)), timeout) as connection, connection.makefile("rb") as stream:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", stream.read(4))
            answer = stream.read(min(length, ANSWER_LIMIT))
            _correlation, brokers = struct.unpack_from(">ii", answer)
            return bool(brokers > 0)
    except (OSError, struct.error):
        return False


BRIEFLY = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options of a Java that does not run for long."""


class Kafka(Server):
    """A broker and its controller in one process, on the loopback address and, for the hosts, on one more."""

    name = "kafka"
    start_timeout = 180.0
    """After a kill it reads each partition again, two at a time, before it answers."""

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        controller_port: int = 0,
        *,
        hosts: str = "",
        heap: str = "512m",
        brief: bool = False,
        cache: Path | None = None,
        account: Account | None = None,
    ) -> None:
        """`hosts` is a further `address:port` to listen on; a port of 0 picks a free one, kept over restarts. `brief`:
        it lives for minutes, for which Java compiles less of it: 6 s of CPU until it has served some, instead of 11."""
        super().__init__(directory, account)
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.hosts = hosts
        self.heap = heap
        self.brief = brief
        self.cache = cache

    @property
    def address(self) -> str:
        """The `host:port` for clients on this machine."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def settings(self) -> Path:
        """The broker's own settings file."""
        return self.directory / "server.properties"

    def _java(self, *arguments: str) -> list[str]:
        return ["java", "-cp", f"{jars(self.cache)}/*", *arguments]

    @property
    def command(self) -> list[str]:
        """The command line of Java that runs the broker."""
        heap = ("-Xms256m", f"-Xmx{self.heap}")
        compiled = BRIEFLY if self.brief else ()
        return self._java(*heap, *compiled, f"-Dlog4j2.configurationFile={LOGGING}", "kafka.Kafka", str(self.settings))

    def prepare(self) -> None:
        """Write the settings and, at first, format the data directory. Raises Failure."""
        self.take_directory()
        data = self.account.own(self.directory / "data")
        self.account.write(self.settings, self._properties(data))
        if (data / "meta.properties").exists():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id that begins with a dash would be read as an option.
        cluster = cluster.replace("-", "A")
        tool = self._java("-Xmx128m", *BRIEFLY, "kafka.tools.StorageTool", "format")
        run([*tool, "-t", cluster, "-c", str(self.settings)], account=self.account, directory=self.directory)

    def ready(self) -> bool:
        """Return whether the broker answers and has joined its cluster."""
        return answers(self.address)

    def _properties(self, data: Path) -> str:
        listeners = {"LOCAL": self.address, **({"HOSTS": self.hosts} if self.hosts else {})}
        controller = f"{LOOPBACK}:{self.controller_port}"
        named = ",".join(f"{name}://{address}" for name, address in listeners.items())
        plain = ",".join(f"{name}:PLAINTEXT" for name in (*listeners, "CONTROLLER"))
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{named},CONTROLLER://{controller}",
            "advertised.listeners": named,
            "listener.security.protocol.map": plain,
            "inter.broker.listener.name": "LOCAL",
            "log.dirs": str(data),
            **ONE_BROKER,
            # A killed broker is let in again when its old session is over: a restart after a crash waits for that.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "500",
            # A topic that says nothing else; each of ours does.
            "log.retention.hours": "168",
            # Small, since a hundred and more partitions each begin with one, and since retention works by segment.
            "log.segment.bytes": str(128 << 20),
            "log.index.size.max.bytes": str(1 << 20),
            "num.recovery.threads.per.data.dir": "2",
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())
