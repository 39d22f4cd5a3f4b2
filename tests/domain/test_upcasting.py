"""Data of earlier releases is read as today's."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import UnknownMessage
from domain.core.ipv6 import Ipv6Mode
from domain.core.messages import (
    MESSAGES,
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    class_of,
    from_record,
    names_of,
    to_record,
)
from domain.core.upcasting import UPCASTS, Upcast, upcast
from domain.flavor import FlavorCreated, FlavorUpdated
from domain.guest_spec import AttachedVolume, FlavorRef, GuestSpec, HostRef, ImageRef, Nic
from domain.host.messages import (
    HostClaimMade,
    HostClaimReleased,
    HostDisabled,
    HostRegistered,
    HostUplinkChanged,
    Inventory,
    PlacementRefused,
    PlacementReport,
)
from domain.image import ImageCreated, ImageStatus, ImageUpdated
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.events import (
    InstanceCreated,
    InstanceMigrationChanged,
    InstanceRebuilt,
    InstanceRescued,
    InstanceResized,
)
from domain.instance.migration import Migration
from domain.jobs.image import MakeInstanceImage
from domain.jobs.network import BindNetworkPort, PortBound, UnbindNetworkPort
from domain.jobs.pool import PoolType
from domain.jobs.scheduling import Placed, PlaceInstance, ReleaseInstance
from domain.jobs.volume import VolumeGranted
from domain.network.messages import NetworkCreated, NetworkUpdated, PortCreated, PortUpdated
from domain.pool import PoolCreated
from domain.tasks.events import StepsDispatched, StepsFinished, TaskAccepted, TaskFailed, TaskFinished, TaskPlanned
from domain.tasks.messages import DispatchHostJobs, JobCall, Reply
from domain.tasks.task import Direction, Dispatch, Fault, Task
from domain.volume.state import VolumeCreated
from domain.webhook import WebhookRetried
from domain.zone import ZoneCreated

TODAY = UpdateInstance.type_name
STEPS = {
    "gostack.test.old.v1": Upcast("gostack.test.old.v2", lambda data: {"title": data["label"]}),
    "gostack.test.old.v2": Upcast(TODAY, lambda data: {"name": data["title"]}),
}


def old(name: str, value: bytes) -> Record:
    ident = str(UUID(int=1))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = to_record(Envelope(ident, UpdateInstance(), Key("instance", ident), now, "test", "c"), Topic.EVENTS)
    headers = {**dict(record.headers), "ce_type": name.encode()}
    return replace(record, value=value, headers=tuple(headers.items()))


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, step in STEPS.items():
        monkeypatch.setitem(UPCASTS, name, step)


def test_every_step_ends_at_a_type_of_today() -> None:
    for name, step in UPCASTS.items():
        assert name not in MESSAGES, f"{name} is read as it is: its step is never taken"
        assert step.to in MESSAGES or step.to in UPCASTS, f"{name} leads to {step.to}, which nobody knows"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gostack.test.old.v1", b'{"label": "web"}'),
        ("gostack.test.old.v2", b'{"title": "web"}'),
        (TODAY, b'{"name": "web"}'),
    ],
)
def test_each_revision_is_read_as_todays(name: str, value: bytes) -> None:
    assert from_record(old(name, value)).data == UpdateInstance(name="web")


@pytest.mark.parametrize("value", [b"{}", b"[]", b"x", b"\xff", b'{"label": ' + b"[" * 100_000])
def test_old_data_that_is_wrong_is_a_dead_record(value: bytes) -> None:
    with pytest.raises(UnknownMessage):
        from_record(old("gostack.test.old.v1", value))


REPORT = {"total": 2, "counts": [{"filter": "vcpu", "left": 0}], "best": []}
AT = "2026-01-02T03:04:05+00:00"
INVENTORY = {"vcpus": 1, "memory": 2, "disk": 3}
DEMAND: dict[str, Any] = {
    "instance_id": "i",
    "vcpus": 2,
    "memory": 4,
    "disk": 8,
    "arch": "x86_64",
    "zone": "z",
    "wanted_host": "",
}
CREATED = {
    "name": "n",
    "hostname": "n",
    "flavor": {"id": "f", "name": "small", "core": 1, "memory": 2},
    "image": {"id": "i", "name": "t", "checksum": "c", "format": "raw", "size": 1, "virtual_size": 1},
    "disk": 1,
    "project": "p",
    "owner": "o",
    "created": AT,
}
MIGRATION = {
    "id": "t",
    "type": "cold",
    "status": "finished",
    "before": "active",
    "source_id": "h",
    "source_name": "h1",
    "destination_id": "g",
    "destination_name": "h2",
    "created": AT,
    "updated": AT,
}
TASK = {
    "id": "t",
    "action": "start",
    "actor": "ann",
    "project": "p",
    "accepted": AT,
    "plan": {"flow": "start", "version": 1, "steps": []},
    "ends": "active",
    "fails": "stopped",
}
OLD_REPLY = {"instance_id": "i", "task_id": "t", "dispatch_id": "d", "job_id": "j"}
REPLY = Reply(subject="instance/i", task_id="t", dispatch_id="d", job_id="j")
FAULT = {"code": "job-failed", "message": "no"}
DISPATCH = {"id": "d", "direction": "forward", "steps": [0], "attempt": 1, "sent": AT, "deadline": AT}
GUEST = {
    "id": "i",
    "name": "web",
    "hostname": "web",
    "project": "p",
    "flavor": {"id": "f", "name": "small", "core": 1, "memory": 1},
    "image": {"id": "m", "name": "tiny", "checksum": "0", "format": "qcow2", "size": 1, "virtual_size": 1},
    "disk": 1,
}
BYTES: dict[str, Any] = {"checksum": "c", "format": "raw", "size": 1, "virtual_size": 1}
WRITTEN: dict[str, tuple[dict[str, Any], Message]] = {
    "gostack.host.claim-made.v1": (
        {"instance_id": "i", "project": "p", "vcpus": 2, "memory": 4, "disk": 8, "report": REPORT},
        HostClaimMade(
            claim_id="i",
            instance_id="i",
            project="p",
            vcpus=2,
            memory=4,
            disk=8,
            arch="",
            zone="",
            wanted_host="",
            number=0,
            report=PlacementReport.model_validate(REPORT),
        ),
    ),
    "gostack.host.registered.v1": (
        {"name": "h", "zone": "z", "inventory": INVENTORY, "endpoint": "", "partition": 1, "epoch": 1, "at": AT},
        HostRegistered(
            name="h",
            zone="z",
            cell="default",
            inventory=Inventory.model_validate(INVENTORY),
            endpoint="",
            partition=1,
            epoch=1,
            at=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.instance.created.v1": (CREATED, InstanceCreated.model_validate({**CREATED, "cells": []})),
    "gostack.instance.created.v2": (
        {**CREATED, "cells": ["c"]},
        InstanceCreated.model_validate({**CREATED, "cells": ["c"], "launch_index": 0}),
    ),
    "gostack.instance.created.v3": (
        {**CREATED, "cells": ["c"], "launch_index": 1, "nics": [{"network_id": "n"}]},
        InstanceCreated.model_validate(
            {**CREATED, "cells": ["c"], "launch_index": 1, "nics": [{"network_id": "n", "cidr6": ""}]}
        ),
    ),
    "gostack.instance.created.v4": (
        {**CREATED, "cells": ["c"], "launch_index": 1},
        InstanceCreated.model_validate({**CREATED, "cells": ["c"], "launch_index": 1}),
    ),
    "gostack.instance.created.v5": (
        {**CREATED, "cells": ["c"], "launch_index": 1},
        InstanceCreated.model_validate({**CREATED, "cells": ["c"], "launch_index": 1, "root": None}),
    ),
    "gostack.flavor.created.v1": (
        {"name": "f", "core": 1, "memory": 2, "mode": "prefer", "multi_queue": 0, "policy": "Default", "at": AT},
        FlavorCreated(
            name="f",
            core=1,
            memory=2,
            mode="prefer",
            multi_queue=0,
            policy="Default",
            disk=0,
            at=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.flavor.updated.v1": (
        {"core": 2, "at": AT},
        FlavorUpdated(core=2, disk=None, at=datetime.fromisoformat(AT)),
    ),
    "gostack.instance.resized.v1": (
        {"flavor": GUEST["flavor"], "disk": 1 << 30, "at": AT},
        InstanceResized(
            flavor=FlavorRef(id="f", name="small", core=1, memory=1, disk=0),
            disk=1 << 30,
            at=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.instance.migration-changed.v2": (
        {"migration": {**MIGRATION, "old_size": {"flavor": GUEST["flavor"], "disk": 1}}},
        InstanceMigrationChanged(
            migration=Migration.model_validate({**MIGRATION, "old_size": {"flavor": GUEST["flavor"], "disk": 1}})
        ),
    ),
    "gostack.instance.rebuilt.v1": (
        {"image": GUEST["image"], "at": AT},
        InstanceRebuilt(image=ImageRef.model_validate(GUEST["image"]), at=datetime.fromisoformat(AT)),
    ),
    "gostack.instance.rescued.v1": (
        {"image": GUEST["image"], "at": AT},
        InstanceRescued(image=ImageRef.model_validate(GUEST["image"]), at=datetime.fromisoformat(AT)),
    ),
    "gostack.image.created.v1": (
        {"project": "p", "name": "t", "arch": "x86_64", "at": AT, **BYTES},
        ImageCreated(
            project="p",
            name="t",
            arch="x86_64",
            visibility="public",
            status=ImageStatus.ACTIVE,
            at=datetime.fromisoformat(AT),
            **BYTES,
        ),
    ),
    "gostack.image.updated.v1": ({"name": "t", "at": AT}, ImageUpdated(name="t", at=datetime.fromisoformat(AT))),
    "gostack.image.make-instance.v1": (
        {"reply": REPLY.model_dump(), "project": "p", "name": "t", "arch": "x86_64", **BYTES},
        MakeInstanceImage(reply=REPLY, project="p", name="t", arch="x86_64", **BYTES),
    ),
    "gostack.task.accepted.v1": (
        {"task_id": "t", "task": TASK, "queued": True},
        TaskAccepted(task_id="t", task=Task.model_validate({**TASK, "correlation": ""}), queued=True),
    ),
    "gostack.task.planned.v1": (
        {"task_id": "t", "task": TASK},
        TaskPlanned(task_id="t", task=Task.model_validate({**TASK, "correlation": ""})),
    ),
    "gostack.instance.migration-changed.v1": (
        {"migration": MIGRATION},
        InstanceMigrationChanged(migration=Migration.model_validate({**MIGRATION, "confirm_at": None})),
    ),
    "gostack.webhook.retried.v1": ({"at": AT}, WebhookRetried(begins=None, at=datetime.fromisoformat(AT))),
    "gostack.zone.created.v1": (
        {"name": "z", "description": "d", "at": AT},
        ZoneCreated(name="z", cell="default", description="d", at=datetime.fromisoformat(AT)),
    ),
    "gostack.scheduling.placement-refused.v2": (
        {**DEMAND, "report": REPORT},
        PlacementRefused(
            **DEMAND, claim_id=DEMAND["instance_id"], cell="default", report=PlacementReport.model_validate(REPORT)
        ),
    ),
    "gostack.scheduling.placement-refused.v1": (
        {"instance_id": "i", "report": REPORT},
        PlacementRefused(
            claim_id="i",
            instance_id="i",
            cell="default",
            vcpus=0,
            memory=0,
            disk=0,
            arch="",
            zone="",
            wanted_host="",
            report=PlacementReport.model_validate(REPORT),
        ),
    ),
    "gostack.host.claim-made.v2": (
        {**DEMAND, "project": "p", "number": 3, "report": REPORT},
        HostClaimMade(**DEMAND, claim_id="i", project="p", number=3, report=PlacementReport.model_validate(REPORT)),
    ),
    "gostack.host.claim-made.v3": (
        {**DEMAND, "claim_id": "c", "project": "p", "number": 3, "report": REPORT},
        HostClaimMade(
            **DEMAND,
            claim_id="c",
            holder_kind="instance",
            project="p",
            number=3,
            report=PlacementReport.model_validate(REPORT),
        ),
    ),
    "gostack.network.created.v1": (
        {"project": "p", "name": "lan", "cidr": "10.0.0.0/24", "segment": 1, "created": AT},
        NetworkCreated(project="p", name="lan", cidr="10.0.0.0/24", segment=1, created=datetime.fromisoformat(AT)),
    ),
    "gostack.network.updated.v1": (
        {"name": "wan", "at": AT},
        NetworkUpdated(name="wan", at=datetime.fromisoformat(AT)),
    ),
    "gostack.network.created.v2": (
        {"project": "p", "name": "lan", "cidr": "10.0.0.0/24", "segment": 1, "external": True, "created": AT},
        NetworkCreated(
            project="p",
            name="lan",
            cidr="10.0.0.0/24",
            segment=1,
            external=True,
            cidr6="",
            ipv6_mode=Ipv6Mode.SLAAC,
            created=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.network.updated.v2": (
        {"external": True, "at": AT},
        NetworkUpdated(external=True, cidr6=None, ipv6_mode=None, at=datetime.fromisoformat(AT)),
    ),
    "gostack.network.port-created.v1": (
        {"port_id": "p1", "ip": "10.0.0.2", "project": "p", "keep": True, "created": AT},
        PortCreated(port_id="p1", ip="10.0.0.2", project="p", keep=True, created=datetime.fromisoformat(AT)),
    ),
    "gostack.network.port-updated.v1": ({"port_id": "p1", "name": ""}, PortUpdated(port_id="p1", name="")),
    "gostack.host.claim-released.v1": ({"instance_id": "i"}, HostClaimReleased(claim_id="i", instance_id="i")),
    "gostack.host.disabled.v1": (
        {"why": "w", "at": AT},
        HostDisabled(why="w", until=None, at=datetime.fromisoformat(AT)),
    ),
    "gostack.host.uplink-changed.v1": (
        {"uplink": "10.2.0.11", "at": AT},
        HostUplinkChanged(uplink="10.2.0.11", tunnel_key="", at=datetime.fromisoformat(AT)),
    ),
    "gostack.scheduling.placement-refused.v3": (
        {**DEMAND, "cell": "c", "report": REPORT},
        PlacementRefused(**DEMAND, claim_id="i", cell="c", report=PlacementReport.model_validate(REPORT)),
    ),
    "gostack.scheduling.place-instance.v1": (
        {**DEMAND, "project": "p", "reply": OLD_REPLY},
        PlaceInstance(**DEMAND, claim_id="i", project="p", reply=REPLY),
    ),
    "gostack.scheduling.placement-refused.v4": (
        {**DEMAND, "claim_id": "c", "cell": "c", "report": REPORT},
        PlacementRefused(**DEMAND, claim_id="c", cell="c", report=PlacementReport.model_validate(REPORT)),
    ),
    "gostack.host.claim-made.v4": (
        {**DEMAND, "claim_id": "c", "project": "p", "number": 1, "report": REPORT},
        HostClaimMade(**DEMAND, claim_id="c", project="p", number=1, report=PlacementReport.model_validate(REPORT)),
    ),
    "gostack.scheduling.place-instance.v2": (
        {**DEMAND, "claim_id": "c", "project": "p", "reply": REPLY.model_dump()},
        PlaceInstance(**DEMAND, claim_id="c", project="p", reply=REPLY),
    ),
    "gostack.volume.created.v1": (
        {"project": "p", "name": "data", "size": 1 << 30, "created": AT},
        VolumeCreated(project="p", name="data", size=1 << 30, created=datetime.fromisoformat(AT)),
    ),
    "gostack.volume.created.v2": (
        {"project": "p", "name": "data", "size": 1 << 30, "created": AT, "pool_id": "x"},
        VolumeCreated(
            project="p",
            name="data",
            size=1 << 30,
            pool_id="x",
            source=None,
            image=None,
            instance_id="",
            answer_to=None,
            created=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.scheduling.release-instance.v1": (
        {"instance_id": "i", "host_id": "h", "reply": OLD_REPLY},
        ReleaseInstance(instance_id="i", host_id="h", claims=("i",), reply=REPLY),
    ),
    "gostack.network.bind-port.v1": (
        {"nic": 0, "port_id": "p", "instance_id": "i", "host_id": "h", "reply": OLD_REPLY},
        BindNetworkPort(nic=0, port_id="p", instance_id="i", host_id="h", reply=REPLY),
    ),
    "gostack.network.unbind-port.v1": (
        {"nic": 0, "port_id": "p", "instance_id": "i", "reply": OLD_REPLY},
        UnbindNetworkPort(nic=0, port_id="p", instance_id="i", reply=REPLY),
    ),
    "gostack.job.dispatch-host-jobs.v1": (
        {
            "dispatch_id": "d",
            "task_id": "t",
            "instance_id": "i",
            "host_id": "h",
            "epoch": 1,
            "deadline": AT,
            "guest": GUEST,
            "jobs": [{"job_id": "j", "name": "StartGuest"}],
        },
        DispatchHostJobs(
            dispatch_id="d",
            task_id="t",
            subject="instance/i",
            host_id="h",
            epoch=1,
            deadline=datetime.fromisoformat(AT),
            guest=GuestSpec.model_validate(GUEST),
            jobs=(JobCall(job_id="j", name="StartGuest"),),
        ),
    ),
    "gostack.task.accepted.v2": (
        {"task_id": "t", "task": {**TASK, "correlation": "c"}},
        TaskAccepted(task_id="t", task=Task.model_validate({**TASK, "correlation": "c"})),
    ),
    "gostack.pool.created.v1": (
        {"name": "nfs", "path": "/srv/nfs", "reserved": 512, "at": AT},
        PoolCreated(name="nfs", type=PoolType.FILE, path="/srv/nfs", reserved=512, at=datetime.fromisoformat(AT)),
    ),
    "gostack.task.planned.v2": (
        {"task_id": "t", "task": {**TASK, "correlation": "c"}},
        TaskPlanned(task_id="t", task=Task.model_validate({**TASK, "correlation": "c"})),
    ),
    "gostack.task.finished.v1": (
        {"task_id": "t", "action": "start", "vm_state": "active", "finished": AT},
        TaskFinished(task_id="t", action="start", status="active", finished=datetime.fromisoformat(AT)),
    ),
    "gostack.task.failed.v1": (
        {"task_id": "t", "action": "start", "vm_state": "stopped", "fault": FAULT, "finished": AT},
        TaskFailed(
            task_id="t",
            action="start",
            status="stopped",
            fault=Fault.model_validate(FAULT),
            finished=datetime.fromisoformat(AT),
        ),
    ),
    "gostack.task.steps-dispatched.v1": (
        {"task_id": "t", "dispatch": DISPATCH, "jobs": ["StartGuest"]},
        StepsDispatched(task_id="t", dispatch=Dispatch.model_validate(DISPATCH), jobs=("StartGuest",)),
    ),
    "gostack.task.steps-finished.v1": (
        {
            "task_id": "t",
            "direction": "forward",
            "steps": [0],
            "jobs": ["Place"],
            "facts": [{"fact": "placed", "host": {"id": "h", "name": "h", "partition": 1, "epoch": 1}}],
        },
        StepsFinished(
            task_id="t",
            direction=Direction.FORWARD,
            steps=(0,),
            jobs=("Place",),
            facts=(Placed(host=HostRef(id="h", name="h", partition=1, epoch=1)),),
        ),
    ),
    "gostack.task.steps-finished.v2": (
        {
            "task_id": "t",
            "direction": "forward",
            "steps": [0],
            "jobs": ["BindPort"],
            "facts": [{"fact": "port-bound", "nic": 0, "port": {"network_id": "n", "ip": "10.0.0.2"}}],
        },
        StepsFinished(
            task_id="t",
            direction=Direction.FORWARD,
            steps=(0,),
            jobs=("BindPort",),
            facts=(PortBound(nic=0, port=Nic(network_id="n", ip="10.0.0.2", cidr6="")),),
        ),
    ),
    "gostack.task.steps-finished.v3": (
        {
            "task_id": "t",
            "direction": "forward",
            "steps": [0],
            "jobs": ["ReserveVolume"],
            "facts": [{"fact": "volume-granted", "volume": {"id": "v", "size": 512}}],
        },
        StepsFinished(
            task_id="t",
            direction=Direction.FORWARD,
            steps=(0,),
            jobs=("ReserveVolume",),
            facts=(VolumeGranted(volume=AttachedVolume(id="v", size=512, pool_id="")),),
        ),
    ),
}
"""Type name -> data as earlier releases wrote it, and what it is read as."""


@pytest.mark.parametrize("name", WRITTEN)
def test_what_earlier_releases_wrote_is_read(name: str) -> None:
    data, expected = WRITTEN[name]
    assert from_record(old(name, json.dumps(data).encode())).data == expected
    assert class_of(name) is type(expected)
    assert {name, type(expected).type_name} <= set(names_of(type(expected)))


def test_every_step_is_tried_with_what_was_written() -> None:
    assert UPCASTS.keys() - STEPS.keys() == WRITTEN.keys()


def test_a_circle_ends() -> None:
    with pytest.raises(ValueError, match="circle"):
        upcast("a", b"{}", {"a": Upcast("b", dict), "b": Upcast("a", dict)})
