"""A Debian guest whose cloud-init reads what it is told: from a config drive, and from the metadata service."""

import asyncio
import gzip
import os
import time
import uuid
from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from domain.guest_spec import GuestSpec, ImageRef
from infra.images import debian
from infra.images.disk import ToolMissing
from infra.local.layout import Layout
from tests.agent import private_host
from tests.agent.samples import MEBI, a_guest, a_nic, in_store
from tests.agent.test_real_guests import ignore, remove, run, telling

pytestmark = [pytest.mark.e2e, pytest.mark.real]

BOOT_TIMEOUT = 250.0
"""Five times what it takes on a machine that has nothing else to do."""
PASSWORD = "correct-horse-9"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBkqvbUZmtBoZrwdnUQ1wZ1gTtl0yFvJ1dJY3u7r2x1q me@home"
VENDOR = {"cloud-init": "#!/bin/sh\necho of the operator >/etc/vendor\n"}
CHECK = "import crypt, spwd; made = spwd.getspnam('debian').sp_pwdp; print(crypt.crypt('{}', made) == made)"
GATEWAY = "10.42.0.1"


def report(gateway: str) -> str:
    """Return a script that says on the guest's console what became of all that it was told."""
    return f"""#!/bin/sh
exec >/dev/console 2>&1 </dev/null
echo "seen hostname=$(hostname)."
echo "seen key=$(cat /home/debian/.ssh/authorized_keys)."
echo "seen user=$(id -un debian), administrator=$(sudo -u debian sudo -n id -un)."
echo "seen password=$(python3 -W ignore -c "{CHECK.format(PASSWORD)}")."
echo "seen mtu=$(cat /sys/class/net/eth0/mtu)."
echo "seen dns=$(grep -c '^nameserver {gateway}$' /etc/resolv.conf)."
echo "seen default=$(ip -4 route show default | wc -l)."
echo "seen metadata=$(ip -4 route get 169.254.169.254 | head -n 1 | cut -d' ' -f1-3)."
echo "seen root=$(df --output=size -BG / | tail -n 1 | tr -d ' ')."
echo "seen vendor=$(cat /etc/vendor)."
cloud-init status --wait --long &
"""


def user_data(written: str, script: str) -> bytes:
    """Return parts of two kinds, whose lines end as mail has them: cloud-init's configuration, by which one script is
    written and run, and another script."""
    whole = MIMEMultipart()
    indented = "".join(f"      {line}\n" for line in written.splitlines())
    config = (
        "#cloud-config\nwrite_files:\n  - path: /usr/local/bin/report\n    permissions: '0755'\n"
        f"    content: |\n{indented}runcmd:\n  - /usr/local/bin/report\n"
    )
    whole.attach(MIMEText(config, "cloud-config", "utf-8"))
    whole.attach(MIMEText(script, "x-shellscript", "utf-8"))
    made = whole.as_bytes(policy=SMTP)
    assert b"\r\n" in made
    return made


USER_DATA = user_data(report(GATEWAY), "#!/bin/sh\necho seen script >/dev/console\n")


@pytest.fixture(scope="module")
def host() -> Iterator[private_host.PrivateHost]:
    if lacking := private_host.missing():
        pytest.skip(f"a host of its own needs {lacking}")
    with private_host.directory() as directory:
        real = private_host.PrivateHost(directory / "h1")
        try:
            yield real
        finally:
            real.close()


@pytest.fixture(scope="module")
def image(host: private_host.PrivateHost) -> ImageRef:
    built = Layout().cache / "debian.qcow2"
    try:
        debian.build(built)
    except ToolMissing as problem:
        pytest.skip(str(problem))
    store = host.directory / "store"
    store.mkdir()
    return in_store(store, built, "debian")


@pytest.fixture(autouse=True)
def umask(image: ImageRef) -> Iterator[None]:
    """The agent's own."""
    before = os.umask(0o077)
    yield
    os.umask(before)


async def said(driver: LibvirtDriver, guest: GuestSpec, text: str) -> str:
    until = time.monotonic() + BOOT_TIMEOUT
    while True:
        console = (await driver.console_log(guest.id, 1 << 16)).decode(errors="replace")
        if text in console:
            return console
        assert time.monotonic() < until, f"no {text!r} in\n{console}"
        await asyncio.sleep(0.5)


def test_an_image_of_the_same_packages_and_sources_is_not_built_again(image: ImageRef) -> None:
    assert not debian.build(Layout().cache / "debian.qcow2")


@pytest.mark.parametrize(
    ("config_drive", "source", "given"),
    [(True, "ConfigDrive", USER_DATA), (False, "OpenStackLocal", gzip.compress(USER_DATA))],
    ids=["config drive", "metadata service"],
)
async def test_cloud_init_makes_the_guest_what_it_is_told(
    host: private_host.PrivateHost, image: ImageRef, config_drive: bool, source: str, given: bytes
) -> None:
    state, store = host.directory / source, host.directory / "store"
    guest = a_guest(
        image,
        (a_nic(10, str(uuid.uuid4()), GATEWAY, 70),),
        hostname="from-record",
        key_name="home",
        public_key=KEY,
        config_drive=config_drive,
        core=2,
        memory=512 * MEBI,
        disk=2 << 30,
    )
    driver = LibvirtDriver(host.uri, state, str(store), executor=host.executor(), vendor_data=VENDOR)
    async with telling(driver):
        await driver.open(ignore)
        try:
            await run(driver, guest, Secrets(password=PASSWORD, user_data=given))
            console = await said(driver, guest, "detail:")
        finally:
            await remove(driver, guest)
            await driver.close()
    for seen in (
        "hostname=from-record",
        f"key={KEY}",
        "user=debian, administrator=root",
        "password=True",
        "mtu=1500",
        "dns=1",
        "default=0",
        f"metadata=169.254.169.254 via {GATEWAY}",
        "root=2G",
        "vendor=of the operator",
    ):
        assert f"seen {seen}." in console, console
    assert "seen script" in console
    assert "status: done" in console
    assert f"Datasource DataSource{source}" in console
