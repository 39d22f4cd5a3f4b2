"""gs instance clone: new instances with a copy of an instance's root disk; options as those of boot."""

from typing import Annotated, Any

import typer

from cli.gs import boot
from cli.gs.call import Call
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.parsing import bytes_or_file, pairs, words
from cli.gs.problems import Failed
from cli.gs.resources import DONE, FLAVOR, HOST, INSTANCE
from cli.gs.standard import argument

Flavor = Annotated[
    str | None,
    typer.Option("--flavor", help="Name or ID of another flavor than the instance's.", autocompletion=names(FLAVOR)),
]
Snapshot = Annotated[
    str | None, typer.Option("--instance-snapshot-id", help="Snapshot to clone. Refused yet: there are none.")
]


def add(app: typer.Typer) -> None:
    """Add the command `clone` to a group."""
    command(app, "clone", writes=True)(clone)


def clone(
    call: Call,
    which: Annotated[str, argument(INSTANCE)],
    flavor: Flavor = None,
    name: boot.Name = None,
    count: boot.Count = None,
    description: boot.Description = None,
    volume_size: boot.VolumeSize = None,
    key_name: boot.KeyName = None,
    password: boot.Password = None,
    user_data: boot.UserData = None,
    metadata: boot.Metadata = None,
    config_drive: boot.ConfigDrive = True,
    is_trusted: boot.IsTrusted = False,
    zone: boot.Zone = None,
    host: boot.Host = None,
    group: boot.Group = None,
    network: boot.Network = None,
    port: boot.Port = None,
    security_group_ids: boot.SecurityGroupIds = None,
    instance_snapshot_id: Snapshot = None,
) -> None:
    """Make new instances that have a copy of an instance's root disk; the instance itself goes on meanwhile."""
    given: dict[str, Any] = {
        "name": name,
        "count": count,
        "description": description,
        "volume_size": volume_size,
        "key_name": key_name,
        "password": password,
        "metadata": pairs(metadata) or None,
        "is_trusted": is_trusted or None,
        "zone": zone,
        "group": words(group),
        "security_group_ids": words(security_group_ids),
        "instance_snapshot_id": instance_snapshot_id,
    }
    body = {key: value for key, value in given.items() if value is not None} | {"config_drive": config_drive}
    if user_data is not None:
        body |= boot.user_data_fields(bytes_or_file(user_data))
    referred = (("flavor", FLAVOR, flavor), ("host", HOST, host))
    body |= {key: call.ident(kind, text) for key, kind, text in referred if text}
    body |= boot.net_fields(call, words(network) or [], port, [])
    path = INSTANCE.path(call.ident(INSTANCE, which), "actions", "clone")
    _finish(call, which, call.client.write("POST", path, body))


def _finish(call: Call, which: str, answer: Any) -> None:
    """Wait for the task of the instance and for the clones' boots, and print these. Raises Failed."""
    from cli.gs.waiting import Started, verdict

    said = answer.body
    made, password = list(said["clones"]), said.get("admin_password")
    told = {"admin_password": password} if password else {}
    if password:
        call.only_now("admin_password", password)
    if not call.options.wait:
        call.leave([said["task_id"]] if said.get("task_id") else [])
        asked = {"task_id": said.get("task_id"), "command_id": said["command_id"], **told}
        call.instances([{**each, **asked} for each in made], alone=len(made) == 1, columns=DONE, raw=answer.text)
        return
    task_id = said.get("task_id") or verdict(call.client, said["command_id"])["task_id"]
    _, well = call.finish([Started(task_id, which)])
    if not well:
        call.told(told)
        raise Failed
    running = [(each["name"], call.client.get(INSTANCE.path(each["id"])).get("task")) for each in made]
    _, well = call.finish([Started(task["id"], name, asked_for=False) for name, task in running if task])
    shown = []
    for each in made:
        shown.append({**(call.found(INSTANCE, each["id"], after=task_id) or each), **told})
    call.instances(shown, alone=len(made) == 1, besides="admin_password" if told else "")
    if not well:
        raise Failed
