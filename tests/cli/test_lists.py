"""Lists, fields and times at the command line, against the API in memory."""

import csv
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import typer

from cli.gs.columns import age
from cli.gs.parsing import moment_of, range_of, time_of
from tests.cli.services import in_memory
from tests.cli.test_against_api import BOOT, User


@pytest.fixture(scope="module")
def gs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    directory = tmp_path_factory.mktemp("service")
    with in_memory(directory) as service:
        user = User(service)
        image = directory / "tiny.raw"
        image.write_bytes(bytes(1 << 20))
        user("image", "create", "--name", "tiny", "--file", str(image))
        user("flavor", "create", "--name", "small", "--core", "1", "--memory", "128M")
        user("network", "create", "--name", "lan", "--cidr", "10.20.0.0/24")
        for name in ("web-1", "web-2", "db"):
            user(*BOOT, "--name", name)
        user(*BOOT, "--name", "old")
        user("instance", "delete", "old")
        yield user


def named(gs: User, *words: str) -> list[str]:
    return gs(*words, "-f", "name", "-o", "value").split()


def test_names_by_their_beginning_in_an_order(gs: User) -> None:
    assert named(gs, "instance", "list", "--name", "web*", "--sort", "name") == ["web-1", "web-2"]
    assert named(gs, "instance", "list", "--sort", "-name") == ["web-2", "web-1", "db"]
    assert named(gs, "flavor", "list", "--name", "s*") == ["small"]
    assert named(gs, "host", "list", "--sort=-name") == ["h2", "h1"]
    assert "created" in gs.fails(1, "instance", "list", "--sort", "colour")


def test_a_status_in_any_case_and_one_that_there_is_not(gs: User) -> None:
    assert named(gs, "instance", "list", "--status", "ACTIVE", "--name", "db") == ["db"]
    assert "did you mean active" in gs.fails(1, "instance", "list", "--status", "actve")
    for words in (
        ("task", "list", "--action", "nope"),
        ("event", "list", "--type", "nonsense"),
        ("event", "follow", "--type", "nonsense"),
        ("instance", "list", "--ip", "nonsense"),
        ("event", "dead", "list", "--kind", "nope"),
        ("parked", "list", "--kind", "nope"),
    ):
        assert "Error" in gs.fails(1, *words)
    for words in (
        ("instance", "list", "--zone", "nope"),
        ("instance", "list", "--key-name", "nope"),
        ("instance", "list", "--host-name", "h"),
        ("volume", "list", "--host-id", "nope"),
    ):
        assert "There is no" in gs.fails(3, *words)


def test_what_is_deleted(gs: User) -> None:
    assert "old" not in named(gs, "instance", "list")
    assert named(gs, "instance", "list", "--deleted") == named(gs, "instance", "list", "--status", "soft_deleted")
    assert sorted(named(gs, "instance", "list", "--all")) == ["db", "old", "web-1", "web-2"]
    assert "does not go with" in gs.fails(2, "instance", "list", "--all", "--deleted")
    assert "DELETED" in gs("flavor", "list", "--all").splitlines()[0]
    told = gs.fails(3, "instance", "show", "old")
    assert "was deleted at" in told
    assert "gs instance restore" in told
    assert "Did you mean web-1" in gs.fails(3, "instance", "stop", "web1")
    assert "4 ports: " in gs.fails(1, "network", "delete", "lan")


def test_fields_are_known_in_lists_shows_and_streams(gs: User) -> None:
    shown = gs("instance", "show", "db", "-f", "NAME,nics.0.ip,Flavor.name", "-o", "value").split()
    assert (shown[0], shown[2]) == ("db", "small")
    assert shown[1].startswith("10.20.0.")
    rows = list(csv.reader(io.StringIO(gs("instance", "list", "--name", "db", "-f", "NICS.0.IP", "-o", "csv"))))
    assert rows == [["nics.0.ip"], [shown[1]]]
    for words in (
        ("instance", "list", "-f", "nosuch"),
        ("instance", "show", "db", "-f", "nosuch"),
        ("instance", "show", "db", "-f", "nics.0.nosuch"),
        ("event", "list", "-f", "nosuch"),
        ("event", "follow", "-f", "nosuch"),
    ):
        assert "nosuch" in gs.fails(1, *words)
    for listed in ("cell list", "project usage", "instance history db", "config show"):
        assert "There is no such field: 'nosuch'" in gs.fails(2, *listed.split(), "-f", "nosuch")
    follow = ("event", "follow", "--from", "beginning", "--timeout", "2")
    followed = gs.run(*follow, "-f", "Type,data.name", "-o", "value").stdout
    assert "gostack.instance.created.v6\tdb" in followed.splitlines()


def test_what_was_written_stays_written_whatever_fields_are_shown(gs: User) -> None:
    done = gs.run("instance", "update", "db", "--description", "d", "-f", "nosuch")
    assert (done.exit_code, "There is no such field" in done.stderr) == (0, True)


def test_lists_tell_the_age(gs: User) -> None:
    for group in ("instance", "flavor", "image", "network", "port", "host", "zone", "task", "job"):
        heading, row, *_ = gs(group, "list").splitlines()
        assert "AGE" in heading.split()
        assert any(word[-1] in "smhd" and word[:-1].isdecimal() for word in row.split()), row


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0s"), (0, "0s"), (100, "100s"), (130, "2m"), (7300, "2h"), (86500, "24h"), (200_000, "2d")],
)
def test_ages(seconds: int, told: str) -> None:
    assert age((datetime.now(UTC) - timedelta(seconds=seconds + 0.5)).isoformat()) in (told, f"{seconds + 1}s")
    assert age(None) == "-"


@pytest.fixture
def east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal two hours east of UTC."""
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("east")
def test_a_time_without_zone_is_that_of_the_terminal() -> None:
    assert time_of("2026-11-29T18:00:00") == "2026-11-29T16:00:00Z"
    assert time_of("2026-11-29") == "2026-11-28T22:00:00Z"
    assert time_of("2026-11-29T16:00:00z") == "2026-11-29T16:00:00Z"
    assert time_of("1796054400") == "2026-11-30T16:00:00Z"
    assert range_of("2026-11-29T18:00,") == "2026-11-29T16:00:00Z,"


def test_how_long_ago_is_left_to_the_service_unless_it_must_not_move() -> None:
    assert (time_of("1h30m"), time_of("now"), range_of("1w,now")) == ("1h30m", "now", "1w,now")
    fixed = datetime.fromisoformat(time_of("1h30m", fixed=True))
    assert abs(datetime.now(UTC) - timedelta(hours=1.5) - fixed) < timedelta(minutes=5)
    assert moment_of("gostack.events/3/1207") == "gostack.events/3/1207"
    for wrong in ("yesterday", "", "0001-01-01T00:00:00Z"):
        with pytest.raises(typer.BadParameter):
            moment_of(wrong)


def test_times_are_options_of_one_form(gs: User) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    local = datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
    for at in ("now", "0s", now, now.replace("+00:00", "z")):
        gs("instance", "list", "--at", at)
    gs("instance", "list", "--at", local)
    assert named(gs, "instance", "list", "--create-date", "1h30m,now", "--name", "db") == ["db"]
    assert named(gs, "instance", "list", "--create-date", "2020-01-01,2020-02-01") == []
    for words in (
        ("instance", "list", "--at", "yesterday"),
        ("instance", "list", "--create-date", "1w"),
        ("instance", "show", "db", "--at", "x"),
        ("instance", "diff", "db", "--from", "x"),
        ("event", "list", "--since", "x"),
        ("event", "export", "--instance", "db", "--until", "x"),
    ):
        assert "1h30m" in gs.fails(2, *words)
