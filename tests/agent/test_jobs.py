from dataclasses import replace

import pytest

from agent.drivers.driver import DriverError, DriverFault, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import HANDLERS, Context, Facts, handles, handles_without_guest
from agent.outside.image_uploads import ImageUploadsInMemory
from agent.outside.other_hosts import OtherHostsInMemory
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Power
from domain.jobs.clone import DiskUnpacked
from domain.jobs.copy import CopyToVolume, FetchImage
from domain.jobs.disk import (
    CreateDisk,
    CreateRescueDisk,
    DeleteDisk,
    DeleteRescueDisk,
    DropOldDisk,
    GrowDisk,
    KeepDisk,
    PrepareImage,
    ReplaceDisk,
    RestoreDisk,
    UnpackDisk,
    WriteConfigDrive,
)
from domain.jobs.guest import (
    ChangeHostname,
    DefineGuest,
    PowerSeen,
    RebootGuest,
    RebuildGuest,
    RescueGuest,
    ResizeGuest,
    StartGuest,
    StopGuest,
    TellGuest,
    UndefineGuest,
    UnrescueGuest,
)
from domain.jobs.image import DiscardUpload, DiskUploaded, UploadDisk
from domain.jobs.migration import FetchDisk
from domain.jobs.network import AttachInterface, DetachInterface, PlugPorts, UnplugPorts
from domain.jobs.volume import AttachVolume, CreateVolumeFile, DeleteVolumeFile, DetachVolume, ExtendVolumeFile
from domain.tasks.job import JOBS, Fact, HostJob, Job
from tests.agent.samples import a_guest
from tests.harness.samples import LARGER

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
ELSEWHERE = "another host"
VOLUME = AttachedVolume(id="v-1", size=1 << 20)
COPIED = VolumeSource(kind=SourceKind.VOLUME, id=VOLUME.id, name="data", size=VOLUME.size)
LEAVING = [job for job in JOBS.values() if issubclass(job, HostJob) and job.leaves is not None]
FOUND: dict[type[Job], tuple[Fact, ...]] = {UnpackDisk: (DiskUnpacked(),)}
"""Job that leaves no power -> what is found out by it."""
LIFE: tuple[tuple[Job, Power | None], ...] = (
    (PrepareImage(), None),
    (FetchDisk(endpoint="http://agent", host_id=ELSEWHERE), None),
    (CreateDisk(), None),
    (UnpackDisk(image=IMAGE), None),
    (DiscardUpload(), None),
    (WriteConfigDrive(), None),
    (PlugPorts(), None),
    (DefineGuest(), Power.SHUTDOWN),
    (ChangeHostname(hostname="other"), None),
    (TellGuest(), None),
    (StartGuest(), Power.RUNNING),
    (RebootGuest(), Power.RUNNING),
    (CreateVolumeFile(volume_id=VOLUME.id, size=VOLUME.size), None),
    (FetchImage(image=IMAGE), None),
    (CopyToVolume(volume_id="v-2", size=1 << 30, source=VolumeSource.of_image(IMAGE), image=IMAGE), None),
    (CopyToVolume(volume_id="v-3", size=1 << 30, source=COPIED), None),
    (AttachVolume(volume_id=VOLUME.id), None),
    (ExtendVolumeFile(volume_id=VOLUME.id, size=2 << 20, instance_id="i"), None),
    (DetachVolume(volume_id=VOLUME.id), None),
    (AttachInterface(nic=0), None),
    (DetachInterface(nic=0), None),
    (DeleteVolumeFile(volume_id=VOLUME.id), None),
    (StopGuest(), Power.SHUTDOWN),
    (DropOldDisk(), None),
    (KeepDisk(), None),
    (GrowDisk(size=4 << 30), None),
    (ResizeGuest(flavor=LARGER, disk=4 << 30), None),
    (StartGuest(), Power.RUNNING),
    (DropOldDisk(), None),
    (ReplaceDisk(image=IMAGE), None),
    (RestoreDisk(), None),
    (RebuildGuest(image=IMAGE), None),
    (CreateRescueDisk(image=IMAGE), None),
    (RescueGuest(image=IMAGE), None),
    (UnrescueGuest(), None),
    (DeleteRescueDisk(), None),
    (UndefineGuest(), Power.NONE),
    (UnplugPorts(), None),
    (DeleteDisk(), None),
)


UNDOING = [
    UndefineGuest(),
    UnplugPorts(),
    DeleteDisk(),
    StopGuest(),
    RestoreDisk(),
    DropOldDisk(),
    DeleteRescueDisk(),
    DeleteVolumeFile(volume_id=VOLUME.id),
    DetachVolume(volume_id=VOLUME.id),
]


class Told(SimulatedDriver):
    """Remembers what it was to tell the guests."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote: list[Secrets] = []

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        self.wrote.append(secrets)
        await super().write_config_drive(guest, secrets)


def context(driver: SimulatedDriver, elsewhere: SimulatedDriver | None = None) -> Context:
    async def secrets(guest: GuestSpec) -> Secrets:
        return Secrets(password=f"of {guest.password_ref}")

    others = OtherHostsInMemory({ELSEWHERE: elsewhere} if elsewhere else {})
    return Context(
        driver=driver, secrets=secrets, other_hosts=others, uploads=ImageUploadsInMemory(), task_id="task of a test"
    )


async def do(job: Job, guest: GuestSpec, given: Context) -> tuple[Fact, ...]:
    return await HANDLERS[type(job)](job, guest, given)


def test_every_job_for_a_host_has_its_handler() -> None:
    assert set(HANDLERS) == {job for job in JOBS.values() if issubclass(job, HostJob)}
    assert all(handler.job is job for job, handler in HANDLERS.items())


def test_a_job_has_one_handler() -> None:
    async def another(job: StartGuest, guest: GuestSpec, context: Context) -> Facts:
        return ()

    before = HANDLERS[StartGuest]
    with pytest.raises(TypeError, match="StartGuest has two handlers"):
        handles(StartGuest)(another)
    assert HANDLERS[StartGuest] is before


@pytest.fixture
def weigh(monkeypatch: pytest.MonkeyPatch) -> type[HostJob]:
    """A job for a host and no guest, which is forgotten afterwards."""
    monkeypatch.setattr("domain.tasks.job.JOBS", dict(JOBS))
    monkeypatch.setattr("agent.jobs.handler.HANDLERS", dict(HANDLERS))

    class Weigh(HostJob):
        """Is heavy."""

        size: int = 0

    return Weigh


async def test_a_job_that_needs_no_guest_is_given_none(weigh: type[HostJob]) -> None:
    seen: list[tuple[HostJob, Context]] = []

    @handles_without_guest(weigh)
    async def work(job: HostJob, context: Context) -> Facts:
        seen.append((job, context))
        return ()

    given = context(SimulatedDriver())
    assert await work(weigh.model_validate({"size": 3}), None, given) == ()
    assert await work(weigh.model_validate({"size": 3}), a_guest(IMAGE), given) == ()
    assert seen == [(weigh.model_validate({"size": 3}), given)] * 2


async def test_a_job_that_leaves_a_power_cannot_do_without_a_guest() -> None:
    with pytest.raises(TypeError, match="StartGuest leaves a guest running, so it needs one"):
        handles_without_guest(StartGuest)
    with pytest.raises(TypeError, match="StartGuest is for a guest, and was given none"):
        await HANDLERS[StartGuest](StartGuest(), None, context(SimulatedDriver()))


@pytest.mark.parametrize("times", [1, 2])
async def test_a_job_done_twice_leaves_what_doing_it_once_does(times: int) -> None:
    elsewhere = SimulatedDriver()
    given = context(SimulatedDriver(), elsewhere)
    guest = a_guest(IMAGE).but(volumes=(VOLUME,))
    await elsewhere.prepare_image(IMAGE)
    await elsewhere.create_disk(guest)
    assert {type(job) for job, _ in LIFE} >= HANDLERS.keys() - set(LEAVING) - {UploadDisk}
    for job, power in LIFE:
        for _ in range(times):
            facts = await do(job, guest, given)
            found = FOUND.get(type(job), ())
            assert facts == (found if power is None else (PowerSeen(power=power),)), job
    assert await given.driver.guests() == {}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", LEAVING, ids=lambda kind: kind.__name__)
async def test_a_job_leaves_a_guest_that_runs_in_the_power_that_it_says(kind: type[HostJob], times: int) -> None:
    given = context(SimulatedDriver())
    guest = a_guest(IMAGE)
    for job in (PrepareImage(), CreateDisk(), DefineGuest(), StartGuest()):
        await do(job, guest, given)
    for _ in range(times):
        (told,) = await do(kind(), guest, given)
        assert isinstance(told, PowerSeen)
        assert told.power is kind.leaves


@pytest.mark.parametrize("job", UNDOING)
async def test_what_undoes_works_where_nothing_was_done(job: Job) -> None:
    await do(job, a_guest(IMAGE), context(SimulatedDriver()))


async def unavailable(guest: GuestSpec) -> Secrets:
    raise DriverError("secret-unavailable", "nobody answers")


async def test_a_drive_holds_the_guests_secrets() -> None:
    driver = Told()
    await do(WriteConfigDrive(), a_guest(IMAGE, password_ref="r-1"), context(driver))
    assert driver.wrote == [Secrets(password="of r-1")]


async def test_a_guest_that_was_told_nothing_here_is_told_nothing_anew() -> None:
    driver = Told()
    await do(TellGuest(), a_guest(IMAGE), Context(driver=driver, secrets=unavailable))
    assert driver.wrote == []


@pytest.mark.parametrize("config_drive", [True, False])
@pytest.mark.parametrize(
    "job",
    [DefineGuest(), RebuildGuest(image=IMAGE), RescueGuest(image=IMAGE), UnrescueGuest(), TellGuest()],
    ids=lambda job: type(job).__name__,
)
async def test_a_guest_that_is_defined_is_told_what_the_record_says_with_the_secrets_that_it_was_told(
    job: Job, config_drive: bool
) -> None:
    driver, guest = Told(), a_guest(IMAGE, password_ref="r-1", config_drive=config_drive)
    for before in (PrepareImage(), CreateDisk(), WriteConfigDrive(), DefineGuest()):
        await do(before, guest, context(driver))
    assert driver.wrote == [Secrets(password="of r-1")] * 2
    later = Context(driver=driver, secrets=unavailable)
    await do(job, guest.but(metadata={"role": "db"}, name="other"), later)
    told = driver._guests[guest.id].told
    assert (told["name"], told["metadata"], told["password"]) == ("other", {"role": "db"}, "of r-1")


@pytest.mark.parametrize("job", [DefineGuest(), WriteConfigDrive()])
async def test_a_guest_whose_secrets_are_forgotten_is_told_the_rest(job: Job) -> None:
    async def forgotten(guest: GuestSpec) -> Secrets:
        raise DriverError(DriverFault.SECRET_GONE, "it was told once")

    driver = Told()
    await do(job, a_guest(IMAGE, config_drive=False), Context(driver=driver, secrets=forgotten))
    assert driver.wrote == [Secrets()]
    with pytest.raises(DriverError, match="nobody answers"):
        await do(job, a_guest(IMAGE, config_drive=False), Context(driver=driver, secrets=unavailable))


async def test_a_failure_keeps_its_code() -> None:
    with pytest.raises(DriverError) as caught:
        await do(StartGuest(), a_guest(IMAGE), context(SimulatedDriver()))
    assert caught.value.code == "guest-unknown"


async def test_a_handler_refuses_another_job() -> None:
    with pytest.raises(TypeError, match="StartGuest was given StopGuest"):
        await HANDLERS[StartGuest](StopGuest(), a_guest(IMAGE), context(SimulatedDriver()))


# The power that a job leaves


class Stubborn(SimulatedDriver):
    """Its guests stop by themselves as soon as they run, and it says that all is well."""

    async def start(self, instance_id: str) -> None:
        await super().start(instance_id)
        await self.power_off_by_itself(instance_id)


LEAVING = [job for job in JOBS.values() if issubclass(job, HostJob) and job.leaves is not None]


@pytest.mark.parametrize("job", LEAVING)
async def test_a_job_that_leaves_a_power_says_what_the_hypervisor_says(job: type[HostJob]) -> None:
    given = context(SimulatedDriver())
    guest = a_guest(IMAGE)
    for each in (PrepareImage(), CreateDisk(), DefineGuest(), StartGuest()):
        await do(each, guest, given)
    facts = await do(job(), guest, given)
    assert [fact for fact in facts if isinstance(fact, PowerSeen)] == [PowerSeen(power=job.leaves or Power.NONE)]
    assert await given.driver.power(guest.id) is job.leaves


async def test_a_job_fails_whose_guest_is_not_as_it_leaves_it() -> None:
    given = context(Stubborn())
    guest = a_guest(IMAGE)
    for job in (PrepareImage(), CreateDisk(), DefineGuest()):
        await do(job, guest, given)
    with pytest.raises(DriverError) as caught:
        await do(StartGuest(), guest, given)
    assert caught.value.code == "power-differs"
    assert str(caught.value) == "StartGuest leaves a guest running, but the hypervisor says it is shutdown."


async def test_turning_off_what_crashed_is_success_and_says_what_it_found() -> None:
    driver = SimulatedDriver()
    given = context(driver)
    guest = a_guest(IMAGE)
    for job in (PrepareImage(), CreateDisk(), DefineGuest(), StartGuest()):
        await do(job, guest, given)
    await driver.power_off_by_itself(guest.id, Power.CRASHED)
    assert await do(StopGuest(), guest, given) == (PowerSeen(power=Power.CRASHED),)


async def test_a_guest_that_runs_goes_on_when_it_is_defined_anew() -> None:
    given = context(SimulatedDriver())
    guest = a_guest(IMAGE)
    for job in (PrepareImage(), CreateDisk(), DefineGuest(), StartGuest()):
        await do(job, guest, given)
    assert await do(DefineGuest(), guest, given) == (PowerSeen(power=Power.RUNNING),)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_is_uploaded_for_its_task_and_taken_out_again(times: int) -> None:
    uploads, told = ImageUploadsInMemory(), list[tuple[int, int]]()
    given = replace(
        context(SimulatedDriver()),
        uploads=uploads,
        task_id="t",
        progress=lambda done, total: told.append((done, total)),
    )
    guest = a_guest(IMAGE)
    await do(PrepareImage(), guest, given)
    await do(CreateDisk(), guest, given)
    for _ in range(times):
        (fact,) = await do(UploadDisk(), guest, given)
        assert isinstance(fact, DiskUploaded)
        assert fact.size == len(uploads.kept["t"])
        assert [done for done, _ in told] == sorted(done for done, _ in told)
        assert told[-1][0] == told[-1][1]
        told.clear()
    for _ in range(times):
        await do(DiscardUpload(), guest, given)
        assert uploads.kept == {}
