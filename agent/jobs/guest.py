"""The jobs for the guest itself. What its power is afterwards is asked where every handler is called."""

from agent.jobs.handler import Context, Facts, handles
from domain.guest_spec import GuestSpec
from domain.jobs.guest import (
    ChangeHostname,
    DefineGuest,
    PauseGuest,
    PowerSeen,
    RebootGuest,
    RebuildGuest,
    RescueGuest,
    ResizeGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    TellGuest,
    UndefineGuest,
    UnpauseGuest,
    UnrescueGuest,
)


@handles(DefineGuest)
async def define_guest(job: DefineGuest, guest: GuestSpec, context: Context) -> Facts:
    """A definition that is there is replaced."""
    await _define(guest, context)
    # Whatever it is: a guest that comes from elsewhere, and is off, would not be watched here if it were not told.
    return (PowerSeen(power=await context.driver.power(guest.id)),)


@handles(UndefineGuest)
async def undefine_guest(job: UndefineGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that is not known is success."""
    await context.driver.undefine(guest.id)
    return ()


@handles(StartGuest)
async def start_guest(job: StartGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that runs is success."""
    await context.driver.start(guest.id)
    return ()


@handles(StopGuest)
async def stop_guest(job: StopGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that is off, or not known, is success."""
    await context.driver.stop(guest.id, job.grace)
    return ()


@handles(RebootGuest)
async def reboot_guest(job: RebootGuest, guest: GuestSpec, context: Context) -> Facts:
    """Twice is two reboots, which leave the guest as one does."""
    await context.driver.reboot(guest.id, job.grace)
    return ()


@handles(PauseGuest)
async def pause_guest(job: PauseGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that is paused is success."""
    await context.driver.pause(guest.id)
    return ()


@handles(UnpauseGuest)
async def unpause_guest(job: UnpauseGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that runs is success."""
    await context.driver.unpause(guest.id)
    return ()


@handles(SuspendGuest)
async def suspend_guest(job: SuspendGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that is suspended is success."""
    await context.driver.suspend(guest.id)
    return ()


@handles(ResumeGuest)
async def resume_guest(job: ResumeGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that runs is success."""
    await context.driver.resume(guest.id)
    return ()


@handles(RescueGuest)
async def rescue_guest(job: RescueGuest, guest: GuestSpec, context: Context) -> Facts:
    """The definition that is there is replaced."""
    await _define(guest.but(rescue_image=job.image), context)
    return ()


@handles(UnrescueGuest)
async def unrescue_guest(job: UnrescueGuest, guest: GuestSpec, context: Context) -> Facts:
    """The definition that is there is replaced."""
    await _define(guest.but(rescue_image=None), context)
    return ()


@handles(RebuildGuest)
async def rebuild_guest(job: RebuildGuest, guest: GuestSpec, context: Context) -> Facts:
    """The definition that is there is replaced."""
    await _define(guest.but(image=job.image), context)
    return ()


@handles(ResizeGuest)
async def resize_guest(job: ResizeGuest, guest: GuestSpec, context: Context) -> Facts:
    """The definition that is there is replaced."""
    await _define(guest.but(flavor=job.flavor, disk=job.disk), context)
    return ()


@handles(TellGuest)
async def tell_guest(job: TellGuest, guest: GuestSpec, context: Context) -> Facts:
    """A guest that has left this host, or has not come yet, was told nothing here and is told nothing."""
    await context.tell_anew(guest)
    return ()


@handles(ChangeHostname)
async def change_hostname(job: ChangeHostname, guest: GuestSpec, context: Context) -> Facts:
    """Written anew, as a whole, with the secrets that the guest was told."""
    await context.tell(guest.but(hostname=job.hostname))
    return ()


async def _define(guest: GuestSpec, context: Context) -> None:
    """Define the guest, and tell it what the record says by now: it may have changed while nobody was told."""
    await context.tell(guest)
    await context.driver.define(guest)
