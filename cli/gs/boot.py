"""gs instance boot: every option is sent as it is; the service refuses what it does not support yet."""

import base64
from typing import Annotated, Any

import typer

from cli.gs.call import Call, Outcomes
from cli.gs.completion import Completer, closed, files, names, of_kind
from cli.gs.options import command
from cli.gs.parsing import bytes_or_file, pairs, words
from cli.gs.problems import Failed, GsError, of_answer
from cli.gs.resources import DONE, FLAVOR, HOST, IMAGE, INSTANCE, KEYPAIR, NETWORK, PORT, ZONE

PLACE, NET, DEVICES = "Where it runs", "Network", "Devices"

Text = str | None
Texts = list[str] | None


def _option(
    *flags: str, help: str, panel: str | None = None, metavar: str | None = None, of: Completer | None = None
) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel=panel, metavar=metavar, autocompletion=of)


Flavor = Annotated[str, _option("--flavor", help="Name or ID of the flavor.", of=names(FLAVOR))]
Name = Annotated[Text, _option("--name", help="Name of the instance.")]
Image = Annotated[Text, _option("--image", help="Name or ID of the image for the root disk.", of=names(IMAGE))]
Volume = Annotated[
    Text, _option("--volume", help="Name or ID of a volume to boot from, instead of an image.", of=of_kind("volume"))
]
VolumeSize = Annotated[int | None, _option("--volume-size", help="Size of the root disk in GiB.")]
Snapshot = Annotated[
    Text,
    _option("--snapshot", help="Name or ID of a volume's snapshot to boot a copy of.", of=of_kind("volume-snapshot")),
]
SourceType = Annotated[
    Text,
    _option(
        "--sourceType",
        help="Source of the root disk: image, volume, snapshot.",
        of=closed("image", "volume", "snapshot"),
    ),
]
DestType = Annotated[
    Text,
    _option(
        "--destType",
        help="Place of the root disk: local, or volume, which makes one of the image.",
        of=closed("local", "volume"),
    ),
]
Pool = Annotated[
    Text, _option("--pool", help="Name or ID of the pool for a root volume that is made.", of=of_kind("pool"))
]
DeleteOnTermination = Annotated[
    bool, _option("--delete-on-termination", help="Delete the root volume when the instance is gone.")
]
Count = Annotated[int | None, _option("--count", help="Number of instances to boot.")]
Description = Annotated[Text, _option("--description", help="Description of the instance.")]
Hostname = Annotated[Text, _option("--hostname", help="Host name of the guest.")]
KeyName = Annotated[
    Text, _option("--key-name", help="Name of the keypair put into the guest.", of=names(KEYPAIR, "name"))
]
Password = Annotated[Text, _option("--password", help="Password of the guest's administrator; made unless given.")]
UserData = Annotated[
    Text,
    _option(
        "--user-data",
        metavar="FILE|TEXT",
        help="User data for the guest, at most 64 KiB: a file, @file, @- for standard input, or the text itself.",
        of=files(),
    ),
]
Metadata = Annotated[Texts, _option("--metadata", metavar="K=V,…", help="Metadata of the instance, keys and values.")]
ConfigDrive = Annotated[
    bool, _option("--config-drive/--no-config-drive", help="Give the guest its metadata and user data on a drive.")
]
OnlyDefine = Annotated[bool, _option("--only-define", help="Define the instance without starting it.")]
InstanceUuid = Annotated[Text, _option("--instance-uuid", help="UUID that the instance is to have.")]
IsTrusted = Annotated[bool, _option("--is-trusted", help="Place it on trusted hosts only.")]
Zone = Annotated[Text, _option("--zone", help="Place it in this zone.", panel=PLACE, of=names(ZONE, "name"))]
Host = Annotated[Text, _option("--host", help="Place it on this host.", panel=PLACE, of=names(HOST))]
Group = Annotated[Texts, _option("--group", help="Server groups of the instance: a,b.", panel=PLACE)]
DedicatedTo = Annotated[Text, _option("--dedicated_to", help="Dedicated cloud for the instance.", panel=PLACE)]
Network = Annotated[
    Texts, _option("--network", help="Names or IDs of networks: a,b.", panel=NET, of=names(NETWORK, several=True))
]
Port = Annotated[Text, _option("--port", help="Name or ID of a port, instead of a network.", panel=NET, of=names(PORT))]
Ports = Annotated[
    Texts, _option("--ports", help="Names or IDs of several ports: a,b.", panel=NET, of=names(PORT, several=True))
]
SecurityGroupIds = Annotated[
    Texts, _option("--security-group-ids", help="Security groups of the instance: a,b.", panel=NET)
]
PciTypes = Annotated[
    Texts,
    _option("--pci-types", help='Types of PCI devices: a,b; "" means type-VF. Refused yet: no SR-IOV.', panel=DEVICES),
]
PfNames = Annotated[
    Texts, _option("--pf-names", help="Names of physical functions: a,b. Refused yet: no SR-IOV.", panel=DEVICES)
]
IsPgpuInstall = Annotated[
    bool, _option("--is-pgpu-install", help="Install the drivers of physical GPUs.", panel=DEVICES)
]
PgpuDriverKits = Annotated[Text, _option("--pgpu-driver-kits", help="The driver kits to install.", panel=DEVICES)]


def add(app: typer.Typer) -> None:
    """Add the command `boot` to a group."""
    command(app, "boot", writes=True)(boot)


def boot(
    call: Call,
    flavor: Flavor,
    name: Name = None,
    image: Image = None,
    volume: Volume = None,
    snapshot: Snapshot = None,
    volume_size: VolumeSize = None,
    source_type: SourceType = None,
    dest_type: DestType = None,
    pool: Pool = None,
    delete_on_termination: DeleteOnTermination = False,
    count: Count = None,
    description: Description = None,
    hostname: Hostname = None,
    key_name: KeyName = None,
    password: Password = None,
    user_data: UserData = None,
    metadata: Metadata = None,
    config_drive: ConfigDrive = True,
    only_define: OnlyDefine = False,
    instance_uuid: InstanceUuid = None,
    is_trusted: IsTrusted = False,
    zone: Zone = None,
    host: Host = None,
    group: Group = None,
    dedicated_to: DedicatedTo = None,
    network: Network = None,
    port: Port = None,
    ports: Ports = None,
    security_group_ids: SecurityGroupIds = None,
    pci_types: PciTypes = None,
    pf_names: PfNames = None,
    is_pgpu_install: IsPgpuInstall = False,
    pgpu_driver_kits: PgpuDriverKits = None,
) -> None:
    """Boot a new instance."""
    given: dict[str, Any] = {
        "name": name,
        "volume": volume,
        "snapshot": snapshot,
        "volume_size": volume_size,
        "source_type": source_type,
        "dest_type": dest_type,
        "pool": pool,
        "delete_on_termination": delete_on_termination or None,
        "count": count,
        "description": description,
        "hostname": hostname,
        "key_name": key_name,
        "password": password,
        "metadata": pairs(metadata) or None,
        "only_define": only_define or None,
        "instance_uuid": instance_uuid,
        "is_trusted": is_trusted or None,
        "zone": zone,
        "group": words(group),
        "dedicated_to": dedicated_to,
        "security_group_ids": words(security_group_ids),
        "pci_types": words(pci_types),
        "pf_names": words(pf_names),
        "is_pgpu_install": is_pgpu_install or None,
        "pgpu_driver_kits": pgpu_driver_kits,
    }
    body = {key: value for key, value in given.items() if value is not None}
    body |= user_data_fields(bytes_or_file(user_data)) if user_data is not None else {}
    body |= {"flavor": call.ident(FLAVOR, flavor), "config_drive": config_drive}
    body |= {key: call.ident(kind, text) for key, kind, text in (("image", IMAGE, image), ("host", HOST, host)) if text}
    net = net_fields(call, words(network) or [], port, words(ports) or [])
    _finish(call, call.client.write("POST", INSTANCE.path(), body | net))


def user_data_fields(content: bytes) -> dict[str, str]:
    """Return the fields that hold these bytes, as text if they are one."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return {"user_data": text}
    return {"user_data": base64.b64encode(content).decode(), "user_data_encoding": "base64"}


def net_fields(call: Call, networks: list[str], port: str | None, ports: list[str]) -> dict[str, Any]:
    """Return the fields that name networks and ports: one network is `network`, several are `networks`."""
    body: dict[str, Any] = {}
    if len(networks) == 1:
        body["network"] = call.ident(NETWORK, networks[0])
    elif networks:
        body["networks"] = call.idents(NETWORK, networks)
    if port:
        body["port"] = call.ident(PORT, port)
    if ports:
        body["ports"] = call.idents(PORT, ports)
    return body


def _finish(call: Call, answer: Any) -> None:
    """Wait for the tasks, and print the instances. A password that was made is printed now, and never again."""
    from cli.gs.waiting import Started, verdict

    password = answer.get("admin_password")
    told = {"admin_password": password} if password else {}
    if password:
        call.only_now("admin_password", password)
    made, outcomes = [], Outcomes()
    for each in answer.items("instances"):
        ident = each.get("instance_id") or each.get("id")
        made.append({**each, "id": ident, "name": each.get("name") or ident})
    if not call.options.wait:
        call.leave([each["task_id"] for each in made if each.get("task_id")])
        call.instances([{**each, **told} for each in made], alone=len(made) == 1, columns=DONE, raw=answer.text)
        return
    tasks: dict[str, Started] = {}
    for each in made:
        try:
            if refused := each.get("problem"):
                raise of_answer(int(refused.get("status", 409)), refused)
            task_id = each.get("task_id") or verdict(call.client, each["command_id"])["task_id"]
            tasks[each["id"]] = Started(task_id, each["name"])
        except GsError as problem:
            outcomes.failed(problem)
    ended, well = call.finish(list(tasks.values()))
    shown = []
    for (ident, started), task in zip(tasks.items(), ended, strict=True):
        if task["status"] == "finished":
            shown.append({**(call.found(INSTANCE, ident, after=started.task_id) or {"id": ident}), **told})
    call.instances(shown, alone=len(made) == 1, besides="admin_password" if told else "")
    if not shown:
        # A guest that was not built has no password.
        call.told(told)
    outcomes.end()
    if not well:
        raise Failed
