"""Run a command where Docker answers and has the images of the servers that tests start.

Images that cannot be pulled are built here, from packages of this machine's Debian and the local cluster's Kafka. Where
no daemon answers, one is started in namespaces of its own: its bridge, mounts and firewall rules are nowhere else, and
all that it started ends with it, even where this process is killed. The images stay in the cache.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.images.packages import release, sources
from infra.local.account import current
from infra.local.checks import is_root
from infra.local.kafka import LOGGING, jars
from infra.local.layout import Layout
from infra.local.process import Failure, descendants, end, run
from infra.local.progress import ProgressLine
from infra.local.server import LOOPBACK, Server
from infra.local.setup import DOCKER, DOCKERD, JAVA, MMDEBSTRAP, available, system_packages

KAFKA_IMAGE = "confluentinc/cp-kafka:7.6.0"
POSTGRES_IMAGE = "postgres:15-alpine"
IMAGES = {KAFKA_IMAGE: "kafka", POSTGRES_IMAGE: "postgres"}
"""The images by name, each with the directory that it is built from where it cannot be pulled."""
SOURCES = Path(__file__).with_name("container_images")
BUILT_HERE = "gostack"
"""The label of images that are built here."""

SOCKET = "unix:///var/run/docker.sock"
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
# dockerd would find the machine's own containerd and systemd in /run, which know nothing of these namespaces; in
# /etc/docker it would leave a key.
INSIDE = """\
set -e
ip link set lo up
for each in /run /etc/docker; do
    mkdir -p $each
    mount -t tmpfs -o mode=755 tmpfs $each
done
exec "$@"
"""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Where this process dies, unshare dies, and with it, as the first process of the namespace, dockerd and all the rest.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Docker:
    """The commands of Docker's command line that are needed here, for one daemon."""

    def __init__(self, address: str) -> None:
        self.address = address

    def answers(self) -> bool:
        """Return whether the daemon answers."""
        return self._run("version", check=False).returncode == 0

    def has(self, image: str) -> bool:
        """Return whether the daemon has an image, however it came there."""
        return self._run("image", "inspect", image, check=False).returncode == 0

    def has_of_others(self, image: str) -> bool:
        """Return whether the daemon has an image that was not built here."""
        label = f'{{{{index .Config.Labels "{BUILT_HERE}"}}}}'
        done = self._run("image", "inspect", "--format", label, image, check=False)
        return done.returncode == 0 and done.stdout.strip() != "1"

    def pull(self, image: str) -> bool:
        """Fetch an image, and return whether that was possible."""
        return self._run("pull", "--quiet", image, check=False, timeout=600).returncode == 0

    def import_root(self, archive: Path, image: str) -> None:
        """Make an image of a tar archive with a root file system. Raises Failure."""
        self._run("import", str(archive), image, timeout=600)

    def build(self, directory: Path, image: str, root: str) -> None:
        """Build an image on another one from a directory with a Dockerfile; what did not change is cached. Raises
        Failure."""
        build = ("build", "--tag", image, "--label", f"{BUILT_HERE}=1", "--build-arg", f"ROOT={root}")
        self._run(*build, str(directory), timeout=600)

    def prune(self) -> None:
        """Remove containers that ended, and images and volumes without a name that nothing uses. Raises Failure."""
        self._run("system", "prune", "--force", "--volumes", timeout=600)

    def _run(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return run(["docker", "--host", self.address, *arguments], check=check, timeout=timeout)


class Dockerd(Server):
    """A Docker daemon in namespaces of its own; root, as its work is to make further ones."""

    name = "dockerd"

    def __init__(self, directory: Path, images: Path) -> None:
        """`directory` is what is forgotten afterwards, `images` what is kept."""
        super().__init__(directory, current())
        self.images = images
        self.docker = Docker(f"unix://{directory / 'docker.sock'}")

    @property
    def settings(self) -> Path:
        """The path of the daemon's settings file."""
        return self.directory / "daemon.json"

    @property
    def command(self) -> list[str]:
        """The command line that makes the namespaces and runs the daemon in them."""
        daemon = ["dockerd", "--config-file", str(self.settings)]
        return [*DIES_WITH_US, "unshare", *NAMESPACES, "sh", "-c", INSIDE, "sh", *daemon]

    def prepare(self) -> None:
        """Write the settings, which take the place of the machine's own."""
        self.take_directory()
        settings = {
            "hosts": [self.docker.address],
            "data-root": str(self.images),
            "exec-root": str(self.directory / "exec"),
            "pidfile": str(self.directory / "pid"),
            # systemd, where it runs, would look for the processes of the namespace outside of it.
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": self.directory.name,
        }
        self.settings.write_text(json.dumps(settings))

    def ready(self) -> bool:
        """Return whether the daemon answers."""
        return self.docker.answers()

    def beside(self, *command: str) -> list[str]:
        """Return a command line that runs `command` in the network of the daemon, whose ports are on its loopback
        address."""
        return ["nsenter", f"--net=/proc/{self._inner_pid}/ns/net", *command]

    def stop(self) -> None:
        """End the daemon by SIGTERM, which unshare, the first process, does not pass on."""
        if self.runs:
            end([self._inner_pid], grace=self.stop_timeout)
        super().stop()
        for group in sorted(CONTROL_GROUPS.glob(f"**/{self.directory.name}/**/"), reverse=True):
            group.rmdir()

    @property
    def _inner_pid(self) -> int:
        return descendants(self.pid)[0]


def run_beside_docker(command: Sequence[str], layout: Layout, progress: ProgressLine) -> None:
    """Run a command where Docker answers and has the images. Raises Failure where the command fails, too."""
    system_packages(progress, (DOCKER,))
    with ExitStack() as stack:
        line = list(command)
        environment = {"GOSTACK_TEST_CONTAINERS": "1"}
        docker = Docker(os.environ.get("DOCKER_HOST", SOCKET))
        if docker.answers():
            lacking = [image for image in IMAGES if not (docker.has_of_others(image) or docker.pull(image))]
        elif "DOCKER_HOST" in os.environ:
            raise Failure("docker", f"no daemon answers at DOCKER_HOST={docker.address}")
        else:
            daemon = stack.enter_context(own_daemon(layout, progress))
            docker, lacking = daemon.docker, list(IMAGES)
            line = daemon.beside(*command)
            environment |= {
                "DOCKER_HOST": docker.address,
                # Else testcontainers looks whether this machine is a container, and for its gateway.
                "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
                "TESTCONTAINERS_HOST_OVERRIDE": LOOPBACK,
            }
        if lacking:
            build(docker, lacking, layout, progress)
        status = subprocess.run(line, env={**os.environ, **environment}).returncode
    if status != 0:
        raise Failure(command[0], f"exit status {status}")


@contextmanager
def own_daemon(layout: Layout, progress: ProgressLine) -> Iterator[Dockerd]:
    """Run a daemon for the time of a block. Raises Failure, also where this checkout has one already."""
    if not is_root():
        raise Failure("docker", "no daemon answers, and to start one needs root")
    system_packages(progress, (DOCKERD,))
    images = layout.cache / "containers"
    images.mkdir(parents=True, exist_ok=True)
    with (layout.cache / "containers.lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="gostack-") as place:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise Failure("docker", f"another daemon uses {images}") from held
        daemon = Dockerd(Path(place), images)
        with progress.part(daemon.name):
            daemon.start()
        try:
            # What a run that was killed has left.
            daemon.docker.prune()
            yield daemon
        finally:
            daemon.stop()


def build(docker: Docker, images: Sequence[str], layout: Layout, progress: ProgressLine) -> None:
    """Build images that cannot be pulled, on one root of this machine's Debian release. Raises Failure."""
    root = _root(docker, progress)
    for image in images:
        with progress.part(image, "built"), tempfile.TemporaryDirectory(prefix="gostack-") as place:
            context = Path(place) / "context"
            shutil.copytree(SOURCES / IMAGES[image], context)
            if image == KAFKA_IMAGE:
                shutil.copytree(jars(layout.cache), context / "lib")
                shutil.copy(LOGGING, context)
            docker.build(context, image, root)


def _root(docker: Docker, progress: ProgressLine) -> str:
    """Return the name of the image with Java and PostgreSQL, which is made where the daemon has none."""
    system_packages(progress, (MMDEBSTRAP,))
    packages = f"{available(JAVA)},postgresql"
    # Java's packages want to put a link there.
    manuals = '--essential-hook=mkdir -p "$1/usr/share/man/man1"'
    make = ["mmdebstrap", "--variant=minbase", f"--include={packages}", manuals]
    image = f"gostack/root:{release()}-{hashlib.sha256(repr(make).encode()).hexdigest()[:8]}"
    if not docker.has(image):
        with progress.part("Debian root", "made"), tempfile.TemporaryDirectory(prefix="gostack-") as place:
            archive = Path(place) / "root.tar"
            run([*make, release(), str(archive), *map(str, sources())], timeout=1800)
            docker.import_root(archive, image)
    return image
