"""gs instance boot: every flag there is, sent on as it is; what the service cannot do yet, it says itself."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call, Outcomes
from cli.gs.completion import Completer, names
from cli.gs.options import command
from cli.gs.parsing import pairs, text_or_file, words
from cli.gs.problems import Failed, GsError, of_answer
from cli.gs.resources import DONE, FLAVOR, HOST, IMAGE, INSTANCE, KEYPAIR, NETWORK, PORT, ZONE

PLACE, NET, DEVICES = "Where it runs", "Network", "Devices"

Text = str | None
Texts = list[str] | None


def _option(
    *flags: str, help: str, panel: str | None = None, metavar: str | None = None, of: Completer | None = None
) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel=panel, metavar=metavar, autocompletion=of)


def add(app: typer.Typer) -> None:
    """Make it a command of this group."""
    command(app, "boot", writes=True)(boot)


def boot(
    call: Call,
    flavor: Annotated[str, _option("--flavor", help="Name or ID of its flavor.", of=names(FLAVOR))],
    name: Annotated[Text, _option("--name", help="Its name.")] = None,
    image: Annotated[
        Text, _option("--image", help="Name or ID of the image its root disk is made of.", of=names(IMAGE))
    ] = None,
    volume: Annotated[Text, _option("--volume", help="The volume to boot from, instead of an image.")] = None,
    volume_size: Annotated[int | None, _option("--volume-size", help="Size of the root disk in GB.")] = None,
    source_type: Annotated[Text, _option("--sourceType", help="What the system disk is made of.")] = None,
    dest_type: Annotated[Text, _option("--destType", help="Where the system disk is, e.g. local.")] = None,
    count: Annotated[int | None, _option("--count", help="How many to boot.")] = None,
    description: Annotated[Text, _option("--description", help="What it is for.")] = None,
    hostname: Annotated[Text, _option("--hostname", help="The guest's host name.")] = None,
    key_name: Annotated[
        Text, _option("--key-name", help="Name of the keypair put into the guest.", of=names(KEYPAIR, "name"))
    ] = None,
    password: Annotated[Text, _option("--password", help="The administrator's; without, one is made.")] = None,
    user_data: Annotated[
        Text, _option("--user-data", metavar="FILE|TEXT", help="For the guest: a file, @file, or the text itself.")
    ] = None,
    metadata: Annotated[Texts, _option("--metadata", metavar="K=V,…", help="Keys and values.")] = None,
    config_drive: Annotated[
        bool, _option("--config-drive/--no-config-drive", help="Give the guest its data on a drive.")
    ] = True,
    only_define: Annotated[bool, _option("--only-define", help="Define it, do not start it.")] = False,
    instance_uuid: Annotated[Text, _option("--instance-uuid", help="Create it with this UUID.")] = None,
    is_trusted: Annotated[bool, _option("--is-trusted", help="Only on trusted hosts.")] = False,
    zone: Annotated[Text, _option("--zone", help="In this zone.", panel=PLACE, of=names(ZONE, "name"))] = None,
    host: Annotated[Text, _option("--host", help="On this host.", panel=PLACE, of=names(HOST))] = None,
    group: Annotated[Texts, _option("--group", help="Of these server groups: a,b.", panel=PLACE)] = None,
    dedicated_to: Annotated[Text, _option("--dedicated_to", help="In this dedicated cloud.", panel=PLACE)] = None,
    network: Annotated[
        Texts, _option("--network", help="Name or ID of its network.", panel=NET, of=names(NETWORK, several=True))
    ] = None,
    port: Annotated[
        Text, _option("--port", help="Name or ID of a port, instead of a network.", panel=NET, of=names(PORT))
    ] = None,
    ports: Annotated[
        Texts, _option("--ports", help="Several ports: a,b.", panel=NET, of=names(PORT, several=True))
    ] = None,
    security_group_ids: Annotated[
        Texts, _option("--security-group-ids", help="Its security groups: a,b.", panel=NET)
    ] = None,
    pci_types: Annotated[
        Texts, _option("--pci-types", help='Types of its PCI devices: a,b; "" means type-VF.', panel=DEVICES)
    ] = None,
    pf_names: Annotated[Texts, _option("--pf-names", help="Names of physical functions: a,b.", panel=DEVICES)] = None,
    is_pgpu_install: Annotated[
        bool, _option("--is-pgpu-install", help="Install the drivers of physical GPUs.", panel=DEVICES)
    ] = False,
    pgpu_driver_kits: Annotated[
        Text, _option("--pgpu-driver-kits", help="The driver kits to install.", panel=DEVICES)
    ] = None,
) -> None:
    """Boot a new instance."""
    given: dict[str, Any] = {
        "name": name,
        "volume": volume,
        "volume_size": volume_size,
        "source_type": source_type,
        "dest_type": dest_type,
        "count": count,
        "description": description,
        "hostname": hostname,
        "key_name": key_name,
        "password": password,
        "user_data": text_or_file(user_data) if user_data is not None else None,
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
    body |= {"flavor": call.ident(FLAVOR, flavor), "config_drive": config_drive}
    body |= {key: call.ident(kind, text) for key, kind, text in (("image", IMAGE, image), ("host", HOST, host)) if text}
    body |= _net(call, words(network) or [], port, words(ports) or [])
    _finish(call, call.client.write("POST", INSTANCE.path(), body))


def _net(call: Call, networks: list[str], port: str | None, ports: list[str]) -> dict[str, Any]:
    """What its NICs are to be joined to. One network is `network`, as several are `networks`."""
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
    """Wait, and show what there is then. A password that was made is told now, and never again."""
    from cli.gs.waiting import Started, verdict

    password = answer.get("admin_password")
    told = {"admin_password": password} if password else {}
    made, outcomes = [], Outcomes()
    for each in answer.items("instances"):
        ident = each.get("instance_id") or each.get("id")
        made.append({**each, "id": ident, "name": each.get("name") or ident})
    if not call.wish.wait:
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
    outcomes.end()
    if not well:
        raise Failed
