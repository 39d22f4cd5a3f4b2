import pytest

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import HANDLERS, Context
from domain.guest_spec import GuestSpec, ImageRef, Power
from domain.jobs.disk import CreateDisk, DeleteDisk, PrepareImage, WriteConfigDrive
from domain.jobs.guest import DefineGuest, PowerSeen, RebootGuest, StartGuest, StopGuest, UndefineGuest
from domain.jobs.network import PlugPorts, UnplugPorts
from domain.tasks.job import JOBS, Fact, HostJob, Job
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
LIFE: tuple[tuple[Job, Power | None], ...] = (
    (PrepareImage(), None),
    (CreateDisk(), None),
    (WriteConfigDrive(), None),
    (PlugPorts(), None),
    (DefineGuest(), None),
    (StartGuest(), Power.RUNNING),
    (RebootGuest(), Power.RUNNING),
    (StopGuest(), Power.SHUTDOWN),
    (StartGuest(), Power.RUNNING),
    (UndefineGuest(), Power.NONE),
    (UnplugPorts(), None),
    (DeleteDisk(), None),
)


class Told(SimulatedDriver):
    """Remembers what it was to tell the guests."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Secrets] = []

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        self.told.append(secrets)


def context(driver: SimulatedDriver) -> Context:
    async def secrets(guest: GuestSpec) -> Secrets:
        return Secrets(password=f"of {guest.password_ref}")

    return Context(driver, secrets)


async def do(job: Job, guest: GuestSpec, given: Context) -> tuple[Fact, ...]:
    return await HANDLERS[type(job)](job, guest, given)


def test_every_job_for_a_host_has_its_handler() -> None:
    assert set(HANDLERS) == {job for job in JOBS.values() if issubclass(job, HostJob)}
    assert all(handler.job is job for job, handler in HANDLERS.items())


@pytest.mark.parametrize("times", [1, 2])
async def test_a_job_done_twice_leaves_what_doing_it_once_does(times: int) -> None:
    given = context(SimulatedDriver())
    guest = a_guest(IMAGE)
    assert {type(job) for job, _ in LIFE} == set(HANDLERS)
    for job, power in LIFE:
        for _ in range(times):
            facts = await do(job, guest, given)
            assert facts == (() if power is None else (PowerSeen(power=power),)), job
    assert await given.driver.guests() == {}


@pytest.mark.parametrize("job", [UndefineGuest(), UnplugPorts(), DeleteDisk(), StopGuest()])
async def test_what_undoes_works_where_nothing_was_done(job: Job) -> None:
    await do(job, a_guest(IMAGE), context(SimulatedDriver()))


async def test_a_drive_holds_the_guests_secrets() -> None:
    driver = Told()
    await do(WriteConfigDrive(), a_guest(IMAGE, password_ref="r-1"), context(driver))
    assert driver.told == [Secrets(password="of r-1")]


@pytest.mark.parametrize(("config_drive", "told"), [(True, 0), (False, 1)])
async def test_a_guest_without_a_drive_is_told_by_the_metadata_service(config_drive: bool, told: int) -> None:
    driver = Told()
    await do(DefineGuest(), a_guest(IMAGE, config_drive=config_drive), context(driver))
    assert len(driver.told) == told


async def test_a_failure_keeps_its_code() -> None:
    with pytest.raises(DriverError) as caught:
        await do(StartGuest(), a_guest(IMAGE), context(SimulatedDriver()))
    assert caught.value.code == "guest-unknown"


async def test_a_handler_refuses_another_job() -> None:
    with pytest.raises(TypeError, match="StartGuest was given StopGuest"):
        await HANDLERS[StartGuest](StopGuest(), a_guest(IMAGE), context(SimulatedDriver()))
