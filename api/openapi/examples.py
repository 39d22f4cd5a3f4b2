"""Examples for the OpenAPI description, shared by all routes; a test holds each to its shape."""

from typing import Any

from domain.guest_spec import FlavorRef, ImageRef
from domain.instance.actions import ACTIONS

INSTANCE_ID = "0d9a3c1e-6f1b-5d8e-9a53-7c2f0c4f6b11"
COMMAND_ID = "7b1e0f54-3f0e-4c9e-8a0e-2f6f5d3c9b21"
FLAVOR_ID = "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33"
IMAGE_ID = "b86c8d3e-4f49-5f70-9a6b-6c7c0d5b1f44"
NETWORK_ID = "c1a7e6d2-0b1c-5a3d-8f4e-1d2c3b4a5f55"
PORT_ID = "d4e5f6a7-1c2d-5b4e-9a6f-2e3d4c5b6a66"
HOST_ID = "e7f8a9b0-2d3e-5c5f-8b7a-3f4e5d6c7b77"
OTHER_HOST_ID = "f8a9b0c1-3e4f-5d6a-9c8b-4a5f6e7d8c88"
SECURITY_GROUP_ID = "9d0f5a0d-e2a3-5f7b-8c5f-1a523b1e4c58"
ZONE_ID = "f0a1b2c3-3e4f-5d6a-9c8b-4a5f6e7d8c88"
KEYPAIR_ID = "a2b3c4d5-4f5a-5e7b-8d9c-5b6a7f8e9d99"
JOB_ID = "b3c4d5e6-5a6b-5f8c-9eAd-6c7b8a9f0eaa".lower()
EVENT_ID = "c4d5e6f7-6b7c-5a9d-8fbe-7d8c9b0a1fbb"
WEBHOOK_ID = "d5e6f7a8-7c8d-5bae-8acf-8e9d0c1b2acc"
CHECKSUM = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NOW = "2025-11-24T02:15:30.123456+00:00"
LATER = "2025-11-24T02:15:36.654321+00:00"
MIB = 1 << 20

FLAVOR = FlavorRef(id=FLAVOR_ID, name="small", core=1, memory=512 * MIB, extra={"hw:support_live_resize": "true"})
IMAGE = ImageRef(id=IMAGE_ID, name="tiny", checksum=CHECKSUM, format="qcow2", size=13 * MIB, virtual_size=64 * MIB)
NIC: dict[str, Any] = {
    "index": 0,
    "network_id": NETWORK_ID,
    "network_name": "lan",
    "port_id": PORT_ID,
    "ip": "10.0.0.2",
    "prefix": 24,
    "ip6": "fd00:1::5000:1ff:fe00:2",
    "mac": "52:00:01:00:00:02",
    "gateway": "10.0.0.1",
    "gateway6": "fd00:1::1",
}
INTERFACE: dict[str, Any] = {
    **NIC,
    "port_name": "",
    "security_group_ids": [SECURITY_GROUP_ID],
    "port_security": True,
    "allowed_pairs": [],
    "egress_kbit": 0,
    "ingress_kbit": 100_000,
}
INSTANCE: dict[str, Any] = {
    "id": INSTANCE_ID,
    "name": "web",
    "status": "active",
    "vm_state": "active",
    "power": "running",
    "task": None,
    "project_id": "admin",
    "user_id": "admin",
    "hostname": "web",
    "description": "",
    "metadata": {"role": "front"},
    "flavor": FLAVOR.model_dump(),
    "image": IMAGE.model_dump(),
    "disk": 64 * MIB,
    "root_volume_id": "",
    "zone": "",
    "host": {"id": HOST_ID, "name": "h1", "epoch": 1},
    "key_name": "laptop",
    "config_drive": True,
    "nics": [NIC],
    "volumes": [],
    "addresses": ["10.0.0.2", "fd00:1::5000:1ff:fe00:2"],
    "disk_image": None,
    "offload_at": None,
    "fault": None,
    "created": NOW,
    "updated": LATER,
    "launched": LATER,
    "deleted": None,
    "purge_at": None,
    "version": 9,
    "parked": None,
}
TASK: dict[str, Any] = {
    "id": COMMAND_ID,
    "action": "boot",
    "status": "running",
    "step": "PrepareImage",
    "steps_done": 2,
    "steps": [step.job.__name__ for step in ACTIONS["boot"].flow.steps],
    "instance_id": INSTANCE_ID,
    "instance_name": "web",
    "subject": f"instance/{INSTANCE_ID}",
    "subject_name": "web",
    "beside": False,
    "params": {},
    "progress": {"step": "PrepareImage", "percent": 40.0, "done": 40 * MIB, "total": 100 * MIB},
    "actor": "admin",
    "project_id": "admin",
    "correlation_id": COMMAND_ID,
    "attempt": 1,
    "deadline": LATER,
    "fault": None,
    "undo_fault": None,
    "cancelled_by": "",
    "accepted": NOW,
    "finished": None,
    "version": 6,
}
JOB: dict[str, Any] = {
    "id": JOB_ID,
    "name": "PrepareImage",
    "status": "started",
    "direction": "forward",
    "target": "host",
    "host_id": HOST_ID,
    "host_name": "h1",
    "task_id": COMMAND_ID,
    "instance_id": INSTANCE_ID,
    "subject": f"instance/{INSTANCE_ID}",
    "project_id": "admin",
    "attempt": 1,
    "args": {},
    "progress": {"step": "PrepareImage", "percent": 40.0, "done": 40 * MIB, "total": 100 * MIB},
    "fault": None,
    "dispatched": NOW,
    "deadline": LATER,
    "finished": None,
    "version": 6,
}
MIGRATION: dict[str, Any] = {
    "id": COMMAND_ID,
    "type": "cold",
    "status": "finished",
    "instance_id": INSTANCE_ID,
    "instance_name": "web",
    "project_id": "admin",
    "source_id": HOST_ID,
    "source_name": "h1",
    "destination_id": OTHER_HOST_ID,
    "destination_name": "h2",
    "old_flavor": "",
    "new_flavor": "",
    "confirm_at": None,
    "task_id": COMMAND_ID,
    "created": NOW,
    "updated": LATER,
    "version": 14,
}
PARKED: dict[str, Any] = {
    "id": f"instance/{INSTANCE_ID}",
    "kind": "instance",
    "parked": True,
    "why": "ValueError: it could not be decided",
    "place": "gostack.commands:3:17",
    "since": NOW,
}
CELL: dict[str, Any] = {
    "name": "default",
    "hosts": 12,
    "instances": 40,
    "vcpus": {"total": 192, "capacity": 768, "used": 80},
    "memory": {"total": 768 << 30, "capacity": 768 << 30, "used": 160 << 30},
    "disk": {"total": 12 << 40, "capacity": 12 << 40, "used": 1 << 40},
    "partition": 10,
}
USAGE: dict[str, Any] = {
    "project_id": "admin",
    "instances": 3,
    "vcpus": 6,
    "memory": 6 << 30,
    "disk": 60 << 30,
    "ports": 4,
}
PROJECTION: dict[str, Any] = {"name": "instances", "rows": 20000, "lag": 12, "lag_seconds": 0.04}
RUN: dict[str, Any] = {
    "id": COMMAND_ID,
    "kind": "rebuild",
    "status": "running",
    "actor": "ann",
    "asked": NOW,
    "started": NOW,
    "finished": None,
    "done": 250000,
    "total": 1000000,
    "seconds_left": 37.5,
    "problems": [],
    "error": "",
}
HOST: dict[str, Any] = {
    "id": HOST_ID,
    "name": "h1",
    "zone": "default",
    "cell": "default",
    "status": "enabled",
    "why_disabled": "",
    "health": "up",
    "epoch": 1,
    "partition": 0,
    "endpoint": "http://10.1.0.11:7490",
    "uplink": "10.2.0.11",
    "tunnel_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "arch": "x86_64",
    "hypervisor": "qemu",
    "instances": 1,
    "vcpus": {"total": 8, "capacity": 32, "used": 1},
    "memory": {"total": 16384 * MIB, "capacity": 16384 * MIB, "used": 512 * MIB},
    "disk": {"total": 102400 * MIB, "capacity": 102400 * MIB, "used": 64 * MIB},
    "created": NOW,
    "updated": NOW,
    "version": 2,
}
WEBHOOK_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
WEBHOOK: dict[str, Any] = {
    "id": WEBHOOK_ID,
    "project_id": "admin",
    "name": "billing",
    "description": "",
    "url": "https://billing.example.com/gostack",
    "wanted": {
        "types": ["gostack.instance.created.*", "gostack.task.*"],
        "subject": "",
        "actor": "",
        "project_id": "admin",
        "task": "",
    },
    "status": "enabled",
    "reason": "",
    "secret_changed": NOW,
    "created": NOW,
    "updated": NOW,
    "deleted": None,
    "version": 1,
    "delivery": {
        "delivered": 41,
        "behind": 0,
        "position": "AAECAw",
        "failures": 0,
        "next_attempt": None,
        "last_event": EVENT_ID,
        "last_at": LATER,
        "last_status": 204,
        "last_error": None,
    },
}
WEBHOOK_BODY: dict[str, Any] = {
    "name": "billing",
    "url": "https://billing.example.com/gostack",
    "wanted": {"types": ["instance.created.*", "task.*"], "project_id": "admin"},
}
WEBHOOK_TEST: dict[str, Any] = {"delivered": True, "status": 204, "error": None, "event_id": EVENT_ID}
NETWORK: dict[str, Any] = {
    "id": NETWORK_ID,
    "name": "lan",
    "description": "",
    "project_id": "admin",
    "cidr": "10.0.0.0/24",
    "cidr6": "fd00:1::/64",
    "ipv6_mode": "slaac",
    "segment": 1,
    "external": False,
    "ports": 1,
    "created": NOW,
    "updated": NOW,
    "deleted": None,
    "version": 4,
}
PORT: dict[str, Any] = {
    "id": PORT_ID,
    "name": "db",
    "project_id": "admin",
    "network_id": NETWORK_ID,
    "network_name": "lan",
    "ip": "10.0.0.2",
    "prefix": 24,
    "ip6": "fd00:1::5000:1ff:fe00:2",
    "mac": "52:00:01:00:00:02",
    "security_group_ids": [SECURITY_GROUP_ID],
    "port_security": True,
    "allowed_pairs": [],
    "egress_kbit": 0,
    "ingress_kbit": 0,
    "instance_id": "",
    "host_id": "",
    "keep": True,
    "created": NOW,
    "version": 2,
}
EVENT: dict[str, Any] = {
    "id": EVENT_ID,
    "type": "gostack.instance.power-changed.v1",
    "subject": f"instance/{INSTANCE_ID}",
    "version": 10,
    "time": LATER,
    "actor": "system",
    "project_id": "admin",
    "task_id": "",
    "correlation_id": COMMAND_ID,
    "causation_id": JOB_ID,
    "verdict": "",
    "place": {"topic": "gostack.events", "partition": 3, "offset": 41},
    "data": {"power": "shutdown", "vm_state": "stopped", "at": LATER},
}
INCIDENT: dict[str, Any] = {
    "format": "gostack-incident",
    "version": 1,
    "made": LATER,
    "about": {"subject": f"instance/{INSTANCE_ID}"},
    "begins": {},
    "incident": [EVENT_ID],
    "events": [EVENT],
}
DIFFERENCE: dict[str, Any] = {
    "id": INSTANCE_ID,
    "from": {"at": "10m", "version": 9},
    "to": {"at": "now", "version": 10},
    "changes": [{"field": "status", "old": "active", "new": "stopped"}],
}
CAUSES: dict[str, Any] = {
    "id": INSTANCE_ID,
    "steps": [
        {
            "id": EVENT_ID,
            "time": LATER,
            "actor": "admin",
            "type": "gostack.task.finished.v2",
            "subject": f"instance/{INSTANCE_ID}",
            "place": {"topic": "gostack.events", "partition": 3, "offset": 41},
            "correlation_id": COMMAND_ID,
            "causation_id": JOB_ID,
            "says": "boot is finished: the instance is active.",
        }
    ],
    "edges": [{"from": COMMAND_ID, "to": EVENT_ID}],
    "cut": False,
}
DEAD: dict[str, Any] = {
    "id": EVENT_ID,
    "status": "dead",
    "place": "gostack.commands:3:41",
    "why": "ZeroDivisionError: division by zero",
    "type": "gostack.instance.stop.v1",
    "subject": f"instance/{INSTANCE_ID}",
    "time": NOW,
    "actor": "admin",
    "project_id": "admin",
    "correlation_id": COMMAND_ID,
    "closed": None,
    "closed_by": "",
    "closed_reason": "",
    "offset": 7,
}
DEAD_WHOLE: dict[str, Any] = {**DEAD, "headers": {"gostack_place": "gostack.commands:3:41"}, "data": {}}
RELEASED: dict[str, Any] = {"subject": f"instance/{INSTANCE_ID}", "released": True, "command_id": COMMAND_ID}
SCHEDULER: dict[str, Any] = {
    "filters": [{"name": "vcpu", "leaves_out": "short of vCPUs"}],
    "weights": [{"name": "free-memory", "weight": 1.0}],
}
PLACEMENTS: dict[str, Any] = {
    "id": INSTANCE_ID,
    "placements": [
        {
            "time": NOW,
            "host": {"id": HOST_ID, "name": "h1"},
            "cell": "default",
            "hosts": 3,
            "filters": [{"filter": "vcpu", "left_out": 1, "left": 2, "leaves_out": "short of vCPUs"}],
            "best": [{"host": "h1", "score": 1.75}],
            "place": {"topic": "gostack.events", "partition": 5, "offset": 17},
        }
    ],
}
SCORES: dict[str, Any] = {
    "id": INSTANCE_ID,
    "time": NOW,
    "place": {"topic": "gostack.events", "partition": 5, "offset": 17},
    "hosts": 2,
    "differs": "",
    "scores": [
        {"id": HOST_ID, "name": "h1", "score": 1.75, "left_out_by": "", "leaves_out": ""},
        {"id": COMMAND_ID, "name": "h2", "score": None, "left_out_by": "vcpu", "leaves_out": "short of vCPUs"},
    ],
    "next": None,
}
SIMULATE: dict[str, Any] = {
    "policy": {"weights": {"free-memory": -1.0}, "ratios": {"vcpus": 8.0}},
    "from": "2d",
    "to": "1h",
}
_LOAD: dict[str, Any] = {
    "hosts": 2,
    "hosts_used": 2,
    "vcpus": {"used": 4, "total": 32, "capacity": 128},
    "memory": {"used": 8 << 30, "total": 128 << 30, "capacity": 128 << 30},
    "disk": {"used": 80 << 30, "total": 2 << 40, "capacity": 2 << 40},
    "placed": 1,
    "refused": 0,
    "refusals": {},
    "largest_flavor": "large",
}
_HELD: dict[str, Any] = {"instances": 2, "vcpus": 2, "memory": 4 << 30, "disk": 40 << 30}
SIMULATION: dict[str, Any] = {
    "policy": {
        "filters": ["enabled-and-up", "vcpu", "memory", "disk"],
        "weights": {"free-memory": -1.0},
        "ratios": {"vcpus": 8.0, "memory": 1.0, "disk": 1.0},
    },
    "from": NOW,
    "to": NOW,
    "next": None,
    "requests": 1,
    "moved": 1,
    "was": _LOAD,
    "would": {**_LOAD, "hosts_used": 1},
    "reproduced": {"same": 1, "differ": 0, "unknown": 0, "why": []},
    "moves": [{"was": "h1", "would": "h2", "count": 1}],
    "more_moves": 0,
    "hosts": [
        {"id": HOST_ID, "name": "h1", "vcpus": 16, "memory": 64 << 30, "disk": 1 << 40, "was": _HELD, "would": _HELD}
    ],
    "more_hosts": 0,
    "placements": [
        {
            "time": NOW,
            "instance_id": INSTANCE_ID,
            "vcpus": 1,
            "memory": 2 << 30,
            "disk": 20 << 30,
            "was": {"id": HOST_ID, "name": "h1"},
            "would": {"id": COMMAND_ID, "name": "h2"},
            "why": "h2 scores 0, h1 -1",
            "place": {"topic": "gostack.events", "partition": 5, "offset": 17},
        }
    ],
}
ACCEPTED: dict[str, Any] = {"task_id": COMMAND_ID, "command_id": COMMAND_ID, "id": INSTANCE_ID}
ALREADY: dict[str, Any] = {
    "already": True,
    "message": "the instance is active already",
    "command_id": COMMAND_ID,
    "id": INSTANCE_ID,
}
BOOT: dict[str, Any] = {
    "name": "web",
    "flavor": "small",
    "image": "tiny",
    "network": "lan",
    "key_name": "laptop",
    "metadata": {"role": "front"},
}
BOOTING: dict[str, Any] = {
    "correlation_id": COMMAND_ID,
    "instances": [{"instance_id": INSTANCE_ID, "name": "web", "command_id": COMMAND_ID, "task_id": COMMAND_ID}],
    "admin_password": "mTq7bVx2LwRk93ZcNd5H",
    "id": INSTANCE_ID,
    "instance_id": INSTANCE_ID,
    "name": "web",
    "command_id": COMMAND_ID,
    "task_id": COMMAND_ID,
}
CLONING: dict[str, Any] = {
    **ACCEPTED,
    "clones": [{"id": NETWORK_ID, "name": "web-clone"}],
    "admin_password": "mTq7bVx2LwRk93ZcNd5H",
}
LOCAL_DISK: dict[str, Any] = {
    "name": "root",
    "device": "vda",
    "path": f"/var/lib/gostack/instances/{INSTANCE_ID}/disk.qcow2",
    "format": "qcow2",
    "virtual_size": 10 << 30,
    "real_size": 524288000,
    "backing_file": f"/var/lib/gostack/cache/{'ab' * 32}",
}
DISPLAY: dict[str, Any] = {"host": "10.1.0.11", "port": 5900, "password": "s3cr3t12", "valid_seconds": 300}
COMMAND: dict[str, Any] = {
    "id": COMMAND_ID,
    "verdict": "accepted",
    "subject": f"instance/{INSTANCE_ID}",
    "task_id": COMMAND_ID,
    "problem": None,
    "message": None,
    "actor": "admin",
    "project_id": "admin",
    "correlation_id": COMMAND_ID,
    "at": NOW,
}
PROBLEM: dict[str, Any] = {
    "type": "urn:gostack:problem:not-found",
    "title": "Not found",
    "status": 404,
    "detail": f"There is no instance {INSTANCE_ID}.",
    "code": "not-found",
    "hint": "",
    "values": {"kind": "instance", "id": INSTANCE_ID},
    "instance": f"/v1/instances/{INSTANCE_ID}",
}
