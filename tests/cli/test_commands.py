"""Every command and flag of the contract is there, and explains itself."""

import os
import subprocess
import sys
from typing import Any, cast

import pytest
import typer.main
from typer.core import TyperGroup

from cli.gs.groups import GROUPS
from cli.gs.main import app
from cli.gs.synonyms import SYNONYMS
from cli.gs.version import own
from domain.instance.actions import ACTIONS
from tests.cli.conftest import Gs, Service

FLAGS: dict[str, list[str]] = {
    "instance boot": [
        *("--config-drive", "--count", "--dedicated_to", "--destType", "--sourceType", "--flavor", "--group", "--host"),
        *("--image", "--instance-uuid", "--is-pgpu-install", "--is-trusted", "--key-name", "--metadata", "--name"),
        *("--network", "--only-define", "--password", "--pci-types", "--pf-names", "--pgpu-driver-kits", "--port"),
        *("--ports", "--security-group-ids", "--user-data", "--volume", "--volume-size", "--zone"),
    ],
    "instance list": [
        *("--create-date", "--fields", "--flavor-ids", "--host-id", "--host-name", "--image-id", "--inner-status"),
        *("--ip", "--key-name", "-l", "--limit", "--long", "--marker", "--name", "--project-id", "-s", "--skip"),
        *("--status", "--update-date", "--user-id", "--zone"),
    ],
    "instance delete": ["--hard", "--ignore", "--yes"],
    "instance reboot": ["--hard"],
    "instance reset": ["--root-device-id"],
    "flavor list": ["-f", "--fields", "-l", "--limit", "-s", "--skip", "--live_resize"],
    "flavor create": ["--core", "--memory", "--mode", "--multi_queue", "--name", "--policy", "--spec"],
    "flavor update": ["--core", "--memory", "--mode", "--multi_queue", "--name", "--policy"],
    "host disable": ["--reason"],
    "keypair create": ["--public-key", "--private-key", "--force"],
    "image update": ["--name", "--description", "--arch", "--visibility", "--protected", "--property"],
    "network update": ["--name", "--description", "--external", "--no-external"],
    "port update": ["--name"],
    "zone update": ["--description"],
    "event export": ["--file", "--force"],
    "image create": ["--name", "--file", "--url", "--convert", "--disk-format", "--min-disk", "--min-ram"],
    "event follow": ["--from"],
}
COMMANDS = {
    "instance": "list show show-deleted log vnc localdisk-show interface-list migration-list update history diff why "
    "release " + " ".join(name for name in ACTIONS if not name.startswith("hard-")),
    "flavor": "list create update show history diff why release delete add-extra delete-extra",
    "keypair": "list show history diff why release create delete",
    "image": "list show history diff why release create upload download update delete",
    "network": "list show history diff why release create update delete",
    "port": "list show create update delete",
    "floating-ip": "list show history diff why release create delete associate disassociate",
    "host": "list show history diff why release enable disable",
    "zone": "list show history diff why release create update delete add-host remove-host",
    "task": "list show history diff why wait cancel",
    "job": "list show",
    "event": "list show follow export dead",
    "scheduler": "filters weights explain simulate",
    "webhook": "list show history diff why release create update delete test retry",
    "config": "show get",
}
COMMON = ["--debug", "--json", "-o", "--output", "--wait", "--no-wait", "--timeout", "-f", "--fields"]


def root() -> TyperGroup:
    made = typer.main.get_command(app)
    assert isinstance(made, TyperGroup)
    return made


def leaf(words: str) -> Any:
    here: Any = root()
    for word in words.split():
        here = here.get_command(None, word)
    return here


def names(words: str) -> set[str]:
    return {name for each in leaf(words).params for name in (*each.opts, *each.secondary_opts)}


def below(words: str) -> list[str]:
    """A command, or all commands of a group."""
    here = leaf(words)
    if not isinstance(here, TyperGroup):
        return [words]
    return [each for name in here.list_commands(cast(Any, None)) for each in below(f"{words} {name}")]


EVERY = [each for group in GROUPS for each in below(group)]


@pytest.mark.parametrize("words", FLAGS)
def test_flags_are_named_as_the_contract_names_them(words: str) -> None:
    assert set(FLAGS[words]) <= names(words)


@pytest.mark.parametrize("group", COMMANDS)
def test_groups_have_the_commands_of_the_contract(group: str) -> None:
    assert set(COMMANDS[group].split()) == set(leaf(group).list_commands(None))


@pytest.mark.parametrize("words", [*EVERY, "version"])
def test_every_command_takes_the_common_options_and_explains_itself(words: str, gs: Gs) -> None:
    assert set(COMMON) <= names(words)
    shown = gs(*words.split(), "-h")
    assert shown.exit_code == 0
    assert leaf(words).help.split(".")[0].split()[0] in shown.output


def test_each_verb_of_the_lifecycle_is_a_command() -> None:
    verbs = {name.removeprefix("hard-") for name, action in ACTIONS.items() if action.begins}
    assert verbs <= set(leaf("instance").list_commands(None))
    assert leaf("instance stop").help == ACTIONS["stop"].help


def test_help_lists_groups_and_is_found_by_words(gs: Gs) -> None:
    shown = gs("--help")
    assert all(name in shown.output and text in shown.output for name, text in GROUPS.items())
    assert gs("help").output.split()[1:] == shown.output.split()[1:]
    assert "--dedicated_to" in gs("help", "instance", "boot").output
    assert gs("help", "nothing").exit_code == 2


@pytest.mark.parametrize("words", [(), ("instance",), ("event", "dead"), ("vm",)])
def test_groups_explain_themselves_in_two_ways(words: tuple[str, ...], gs: Gs) -> None:
    assert gs(*words, "-h").output == gs(*words, "--help").output
    assert gs(*words, "-h").exit_code == 0


def test_the_version_needs_no_service(gs: Gs, service: Service) -> None:
    shown = gs("--version")
    assert (shown.exit_code, shown.stdout) == (0, f"gs {own()}\n")
    assert service.asked == []


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("vm ls", "list"),
        ("server show", "show"),
        ("instance create", "boot"),
        ("vm rm", "delete"),
        ("network create", "create"),
        ("event dead ls", "list"),
    ],
)
def test_synonyms_are_understood(words: str, name: str, gs: Gs) -> None:
    assert leaf(words).name == name
    assert f"Usage: root {words}" in gs("help", *words.split()).output or words in gs(*words.split(), "-h").output


@pytest.mark.parametrize("words", ["ls", "vm vm", "network rm-host", "host create", "config rm"])
def test_synonyms_stand_for_what_there_is(words: str, gs: Gs) -> None:
    assert gs(*words.split()).exit_code == 2


def test_help_does_not_speak_of_synonyms() -> None:
    assert not set(SYNONYMS) & set(root().list_commands(cast(Any, None)))
    assert "create" in SYNONYMS
    for group, kept in (("instance", set()), ("flavor", {"create"}), ("event dead", set())):
        assert set(SYNONYMS) & set(leaf(group).list_commands(None)) == kept


@pytest.mark.parametrize(
    "words", ["nothing", "instance nothing", "instance show", "flavor list --nothing", "task wait"]
)
def test_wrong_usage_is_told_apart(words: str, gs: Gs) -> None:
    assert gs(*words.split()).exit_code == 2


DOMAIN = ("domain.aggregates", "domain.kind", "domain.instance", "domain.core.messages", "domain.core.choices")
"""What takes long to import; how times and paths are written does not."""


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("--help", (*DOMAIN, "httpx")),
        ("version", (*DOMAIN, "rich.table", "rich.console")),
        ("flavor list", DOMAIN),
        ("instance list", DOMAIN),
    ],
)
def test_what_a_command_does_not_need_costs_it_nothing(words: str, spared: tuple[str, ...]) -> None:
    """It is started for every single command: what it imports is what a user waits for."""
    code = f"""
import sys
from cli.gs.main import main
sys.argv = ["gs", *{words.split()!r}]
try:
    main()
except SystemExit:
    print([name for name in sys.modules if name.startswith({spared!r})])
"""
    nobody = {**os.environ, "GS_API": "http://127.0.0.1:1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=nobody)
    assert run.stdout.splitlines()[-1] == "[]"
