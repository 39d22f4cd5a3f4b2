"""What becomes known by a job: the facts that whoever does it would answer.

A job of a host says itself which power it leaves; a job from which something else becomes known has a line here.
"""

import uuid
from collections.abc import Callable
from typing import Any

from domain.guest_spec import AttachedVolume, HostRef, Nic, Power
from domain.jobs.clone import DiskUnpacked
from domain.jobs.disk import UnpackDisk
from domain.jobs.guest import PowerSeen
from domain.jobs.image import DiskUploaded, UploadDisk
from domain.jobs.network import AddPort, BindPort, InterfaceRemoved, PortBound, PortUnbound, RemovePort, UnbindPort
from domain.jobs.scheduling import Place, Placed, Release, Released
from domain.jobs.volume import ReleaseVolume, ReserveVolume, VolumeGranted, VolumeReturned
from domain.tasks.job import JOBS, Fact, HostJob, Job
from domain.tasks.messages import JobCall

HOST = HostRef(id=str(uuid.UUID(int=7)), name="host-7", partition=3, epoch=1)
"""Where everything is placed."""
SECOND_HOST = HostRef(id=str(uuid.UUID(int=8)), name="host-8", partition=4, epoch=1)
"""Where what must leave that one is placed."""

Yields = Callable[[Any, Any, str], tuple[Fact, ...]]
"""Given the subject's state, the job and its id."""


def _bound(subject: Any, job: BindPort, job_id: str) -> tuple[Fact, ...]:
    nic = subject.nics[job.nic]
    port_id = nic.port_id or str(uuid.UUID(int=50 + job.nic))
    return (PortBound(nic=job.nic, port=nic.but(port_id=port_id, ip="10.0.0.9", mac="52:00:00:00:00:09")),)


def _added(subject: Any, job: AddPort, job_id: str) -> tuple[Fact, ...]:
    port = Nic(network_id=job.network_id, port_id=job.port_id or job_id, ip="10.0.0.10", mac="52:00:00:00:00:10")
    return (PortBound(nic=job.nic, port=port),)


def _removed(subject: Any, job: RemovePort, job_id: str) -> tuple[Fact, ...]:
    port_id = job.port_id or next((nic.port_id for nic in subject.nics[job.nic : job.nic + 1]), "")
    return (InterfaceRemoved(port_id=port_id),)


YIELDS: dict[type[Job], Yields] = {
    Place: lambda subject, job, job_id: (Placed(host=SECOND_HOST if HOST.id in job.avoid else HOST, claim=job_id),),
    Release: lambda subject, job, job_id: (Released(),),
    BindPort: _bound,
    AddPort: _added,
    RemovePort: _removed,
    UploadDisk: lambda subject, job, job_id: (
        DiskUploaded(checksum="0" * 64, format="qcow2", size=1 << 20, virtual_size=1 << 26),
    ),
    UnpackDisk: lambda subject, job, job_id: (DiskUnpacked(),),
    ReserveVolume: lambda subject, job, job_id: (VolumeGranted(volume=AttachedVolume(id=job.volume_id, size=1 << 30)),),
    ReleaseVolume: lambda subject, job, job_id: (VolumeReturned(volume_id=job.volume_id),),
    UnbindPort: lambda subject, job, job_id: (PortUnbound(nic=job.nic),),
}


def facts_of(subject: Any, call: JobCall) -> tuple[Fact, ...]:
    """The facts of a job that succeeds; of most jobs there are none."""
    kind = JOBS[call.name]
    if kind in YIELDS:
        return YIELDS[kind](subject, kind.model_validate(call.args), call.job_id)
    power: Power | None = kind.leaves if issubclass(kind, HostJob) else None
    return (PowerSeen(power=power),) if power is not None else ()
