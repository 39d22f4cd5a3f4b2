"""The contract of the read models' store: the twin in memory and PostgreSQL answer alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import sql

from domain.core.messages import Key, Topic
from domain.dead import DeadDropped, DeadRetried
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.network.messages import CreateNetwork, DeleteNetwork
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog
from projections.maintenance.verify import MOST, compare
from projections.store.memory import MemoryStore
from projections.store.port import (
    LONG_AGO,
    HistoryEntry,
    HistoryQuery,
    Milestone,
    NotMoved,
    ProjectionBatch,
    Snapshot,
    Store,
    StoredState,
    StoreUnavailable,
)
from projections.store.postgres import PostgresStore
from projections.store.schema import SCHEMA, create_tables
from projections.store.sql_filters import of_view, order_of
from projections.views.table import VIEWS
from projections.views.view import (
    Condition,
    Either,
    Found,
    Operator,
    Query,
    Row,
    UnknownMarker,
)
from tests.domain.instances import NETWORK, boot_command
from tests.harness.world import World
from tests.projections.test_dead import closed, dead, ident, project, rows

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
FIRST = TopicPartition("gostack.events", 0)
SECOND = TopicPartition("gostack.events", 1)
WEB = Key("instance", "00000000-0000-0000-0000-000000000001")


@pytest.fixture(scope="module")
def dsn(real_servers: Any) -> str:
    """A database with the tables of every view."""
    address: str = real_servers.dsn
    create_tables(address)
    create_tables(address)
    return address


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    address = request.getfixturevalue("dsn")
    tables = [sql.Identifier(SCHEMA, name) for name in ("positions", "states", "milestones", "history", *VIEWS)]
    with psycopg.connect(address) as connection:
        connection.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(tables)))
    postgres = PostgresStore(address, pool_size=2)
    await postgres.open()
    yield postgres
    await postgres.close()


def row(ident: str, version: int = 1, seconds: float = 0, **columns: Any) -> Row:
    """An instance's row, made so many seconds after the others; `columns` as far as they matter."""
    whole: dict[str, Any] = {
        "name": ident,
        "project": "p",
        "owner": "alice",
        "status": "active",
        "vm_state": "active",
        "flavor_id": "f",
        "image_id": "i",
        "host_id": "",
        "host_name": "",
        "key_name": "",
        "zone": "",
        "disk_checksum": "",
        "ips": [],
        "updated": NOW,
        "deleted": False,
    }
    return Row(
        id=ident,
        version=version,
        created=NOW + timedelta(seconds=seconds),
        columns={**whole, **columns},
        doc={"id": ident, "version": version, "name": columns.get("name", ident), "text": 'ü"\u0000\u0000\\u0000\n'},
    )


def port(ident: str, version: int = 1) -> Row:
    columns = {
        "name": "",
        "project": "p",
        "network_id": "n",
        "instance_id": "",
        "ip": "10.0.0.1",
        "security_groups": [],
    }
    return Row(id=ident, version=version, created=NOW, columns=columns, doc={"id": ident})


def entry(ident: str, seconds: float = 0, **changes: Any) -> HistoryEntry:
    whole: dict[str, Any] = {
        "subject": Key("instance", "one"),
        "version": 1,
        "type": "gostack.instance.created.v1",
        "topic": "gostack.events",
        "partition": 0,
        "offset": 0,
        "actor": "alice",
        "project": "p",
        "task": "",
        "correlation": "t",
        "causation": "c",
        "verdict": "",
        "data": b'{"a":"\\u0000"}',
    }
    return HistoryEntry(id=ident, time=NOW + timedelta(seconds=seconds), **{**whole, **changes})


async def keep(store: Store, *rows: Row, view: str = "instances") -> None:
    """Apply these rows."""
    await store.apply(ProjectionBatch(rows={view: {each.id: each for each in rows}}))


async def remember(store: Store, *entries: HistoryEntry) -> None:
    await store.apply(ProjectionBatch(history=list(entries)))


async def ids(store: Store, *where: Condition, **query: Any) -> list[str]:
    """Ids on one page of instances."""
    page = await store.page("instances", Query(where=where, **query))
    return [orjson.loads(doc)["id"] for doc in page.docs]


async def past(store: Store, **query: Any) -> list[str]:
    """Ids of these entries."""
    return [each.id for each in await store.history(HistoryQuery(**query))]


# Applying


async def test_a_batch_is_there_whole(store: Store) -> None:
    await store.positions([FIRST, SECOND])
    key = Key("instance", "one")
    await store.apply(
        ProjectionBatch(
            start={FIRST: 0},
            end={FIRST: 7},
            rows={"instances": {"one": row("one")}, "ports": {"p": port("p")}},
            states={key: Snapshot(3, 6, b'{"a":1}')},
            history=[entry("e")],
        )
    )
    assert await store.positions([FIRST, SECOND]) == {FIRST: 7, SECOND: 0}
    assert await store.states([key, Key("instance", "two"), Key("host", "one")]) == {
        key: StoredState(3, b'{"a":1}', ())
    }
    assert await store.get("instances", "one") is not None
    assert await store.get("ports", "p") is not None
    assert await past(store) == ["e"]


async def test_an_empty_batch_changes_nothing(store: Store) -> None:
    await store.apply(ProjectionBatch(rows={"instances": {}}, gone={"ports": set()}))
    assert await store.count("instances") == 0


@pytest.mark.parametrize("start", [{FIRST: 5, SECOND: 0}, {FIRST: 0, SECOND: 5}, {FIRST: 5, SECOND: 5}])
async def test_nothing_of_a_batch_is_kept_whose_positions_another_has_moved(
    store: Store, start: dict[TopicPartition, int]
) -> None:
    await store.positions([FIRST, SECOND])
    batch = ProjectionBatch(
        start=start,
        end={FIRST: 9, SECOND: 9},
        rows={"instances": {"one": row("one")}},
        states={Key("instance", "one"): Snapshot(1, 0, b"{}")},
        history=[entry("e")],
    )
    with pytest.raises(NotMoved):
        await store.apply(batch)
    assert await store.positions([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}
    assert await store.get("instances", "one") is None
    assert await store.states([Key("instance", "one")]) == {}
    assert await past(store) == []


async def test_the_same_batch_is_not_applied_twice(store: Store) -> None:
    await store.positions([FIRST])
    batch = ProjectionBatch(start={FIRST: 0}, end={FIRST: 3})
    await store.apply(batch)
    with pytest.raises(NotMoved):
        await store.apply(batch)


async def test_positions_that_are_known_are_not_set_back(store: Store) -> None:
    await store.positions([FIRST])
    await store.apply(ProjectionBatch(start={FIRST: 0}, end={FIRST: 3}))
    assert await store.positions([FIRST]) == {FIRST: 3}
    assert await store.positions([]) == {}


async def test_a_state_of_a_lower_version_replaces_none_of_a_higher(store: Store) -> None:
    key = Key("instance", "one")
    for version in (2, 3, 1):
        await store.apply(ProjectionBatch(states={key: Snapshot(version, version, str(version).encode())}))
    assert await store.states([key]) == {key: StoredState(3, b"3", ())}


async def test_one_subjects_events_come_in_the_order_of_the_log_whatever_their_clocks_said(store: Store) -> None:
    await remember(store, entry("b", seconds=-5, offset=2), entry("a", seconds=0, offset=1), entry("c", offset=3))
    subject = str(Key("instance", "one"))
    assert await past(store, subject=subject) == ["a", "b", "c"]
    assert await past(store, subject=subject, marker="b") == ["c"]


async def test_a_list_in_a_column_may_hold_any_text(store: Store) -> None:
    await keep(store, row("a", ips=['q"{}', "b\\s,", ""]), row("b", ips=[]))
    for text in ('q"{}', "b\\s,", ""):
        assert await ids(store, Condition("ips", "contains", text)) == ["a"]


async def test_a_state_comes_with_the_events_since(store: Store) -> None:
    key, other = Key("instance", "one"), Key("instance", "two")
    entries = [
        entry("a", offset=1, version=1, data=b"1"),
        entry("c", offset=7, version=3, data=b"3", type="t3"),
        entry("b", offset=4, version=2, data=b"2", type="t2"),
        entry("n", offset=9, version=0, data=b"0"),
        entry("x", offset=5, version=1, data=b"1", subject=other, type="t1"),
        entry("y", offset=5, version=1, data=b"1", subject=Key("host", "one"), type="t1"),
    ]
    await store.apply(ProjectionBatch(states={key: Snapshot(1, 1, b"{}")}, history=entries))
    assert await store.states([key, other, Key("instance", "none")]) == {
        key: StoredState(1, b"{}", (("t2", b"2"), ("t3", b"3")), NOW),
        other: StoredState(0, b"", (("t1", b"1"),), NOW),
    }


async def test_a_state_comes_with_the_latest_time_of_its_events(store: Store) -> None:
    key, late = Key("instance", "one"), NOW + timedelta(seconds=9)
    await store.apply(
        ProjectionBatch(states={key: Snapshot(1, 1, b"{}", late)}, history=[entry("a", offset=2, version=2)])
    )
    assert (await store.states([key]))[key].time == late
    await remember(store, entry("b", seconds=20, offset=3, version=3), entry("c", seconds=10, offset=4, version=4))
    assert (await store.states([key]))[key].time == NOW + timedelta(seconds=20)


# Milestones

LONG = Key("instance", "one")


def milestone(version: int, seconds: float = 0, subject: Key = LONG, **changes: Any) -> Milestone:
    given = Milestone(subject, version, NOW + timedelta(seconds=seconds), 3, version * 10, f"e{version}", b'{"a":1}')
    return given._replace(**changes)


async def test_the_newest_milestone_that_is_no_later_is_found(store: Store) -> None:
    first, second, third = milestone(10), milestone(20, 5), milestone(30, 5)
    others = [milestone(25, subject=Key("host", "one")), milestone(25, subject=Key("instance", "two"))]
    await store.apply(ProjectionBatch(milestones=[third, first, *others, second]))
    assert await store.milestone(LONG) == third
    assert await store.milestone(Key("instance", "none")) is None
    for version, found in ((9, None), (10, first), (19, first), (20, second), (99, third)):
        assert await store.milestone(LONG, version=version) == found
    for seconds, found in ((-0.001, None), (0, first), (4.999, first), (5, third)):
        assert await store.milestone(LONG, time=NOW + timedelta(seconds=seconds)) == found
    for offset, found in ((99, None), (100, first), (199, first), (200, second), (10_000, third)):
        assert await store.milestone(LONG, place=(3, offset)) == found
    assert await store.milestone(LONG, place=(4, 10_000)) is None
    assert await store.milestone(LONG, time=NOW, place=(3, 10_000)) == first
    assert await store.milestone(LONG, time=NOW + timedelta(hours=1), place=(3, 210)) == second


async def test_a_milestone_stays_as_it_was_first_written(store: Store) -> None:
    await store.apply(ProjectionBatch(milestones=[milestone(10)]))
    await store.apply(ProjectionBatch(milestones=[milestone(10, state=b"{}")]))
    assert await store.milestone(LONG) == milestone(10)


async def test_the_last_milestones_are_told_with_their_bytes(store: Store) -> None:
    other = Key("network", "n")
    large = milestone(7, subject=other, state=b'"' + b"x" * 100_000 + b'"')
    await store.apply(ProjectionBatch(milestones=[milestone(10), milestone(20), large]))
    assert await store.last_milestones([LONG, other, Key("host", "h")]) == {LONG: (20, 7), other: (7, 100_002)}
    assert await store.milestone(other) == large


async def test_only_what_has_a_version(store: Store) -> None:
    await remember(store, entry("a", offset=1), entry("n", offset=2, version=0), entry("b", offset=3, version=2))
    assert await past(store, subject="instance/one", versioned=True) == ["a", "b"]
    assert await past(store, subject="instance/one") == ["a", "n", "b"]
    assert await past(store, task="t", versioned=True) == ["a", "b"]


async def test_a_row_of_a_lower_version_replaces_none_of_a_higher(store: Store) -> None:
    for version, name in ((2, "b"), (3, "c"), (1, "a")):
        await keep(store, row("one", version, name=name))
    found = await store.get("instances", "one")
    assert found is not None
    assert (found.version, orjson.loads(found.doc)["name"]) == (3, "c")
    assert await ids(store, Condition("name", "=", "a")) == []
    assert await ids(store, Condition("name", "=", "c")) == ["one"]
    assert await store.count("instances") == 1


async def test_one_of_several_conditions_is_enough(store: Store) -> None:
    await keep(store, row("a", seconds=1), row("b", seconds=2, deleted=True), row("c", project="q", deleted=True))
    either = Either((Condition("deleted", "=", False), Condition("project", "=", "q")))
    page = await store.page("instances", Query(where=(either,)))
    assert [orjson.loads(doc)["id"] for doc in page.docs] == ["a", "c"]
    narrowed = (Condition("project", "in", ["p", "q"]), either, Condition("created", "<=", NOW))
    page = await store.page("instances", Query(where=narrowed))
    assert [orjson.loads(doc)["id"] for doc in page.docs] == ["c"]


async def test_a_row_of_the_same_version_is_written_anew(store: Store) -> None:
    await keep(store, row("one", 2, name="a"))
    await keep(store, row("one", 2, name="b", seconds=5))
    assert await ids(store, Condition("name", "=", "b")) == ["one"]


async def test_rows_are_counted_and_summed_by_a_column(store: Store) -> None:
    active = Condition("status", "in", ["active", "x"])
    assert await store.totals("instances", "project", [active]) == {}
    await keep(store, row("one"), row("two", 3, project="q"), row("three", 5), row("four", project="q", status="error"))
    assert await store.totals("instances", "project", [active]) == {"p": (2,), "q": (1,)}
    of_q = [Condition("project", "=", "q")]
    assert await store.totals("instances", "status", of_q, [["version"]]) == {"active": (1, 3), "error": (1, 1)}
    assert await store.totals("instances", "project", [active, *of_q], [["version"], ["version"]]) == {"q": (1, 3, 3)}


async def test_rows_that_are_gone_are_gone_and_others_stay(store: Store) -> None:
    await keep(store, port("a"), port("b"), view="ports")
    await store.apply(ProjectionBatch(gone={"ports": {"a", "never"}}))
    assert await store.get("ports", "a") is None
    assert await store.count("ports") == 1


async def test_an_entry_that_comes_again_is_remembered_as_it_came_first(store: Store) -> None:
    await remember(store, entry("e", offset=1), entry("e", offset=2))
    await remember(store, entry("e", offset=3))
    (found,) = await store.history(HistoryQuery())
    assert found.offset == 1


# One document


async def test_a_document_is_found_by_its_id_as_it_was_written(store: Store) -> None:
    await keep(store, row("one", 4))
    found = await store.get("instances", "one")
    assert found == Found("one", 4, orjson.dumps(row("one", 4).doc))
    assert await store.get("instances", "two") is None
    assert await store.get("ports", "one") is None


async def test_documents_are_found_by_name_newest_first(store: Store) -> None:
    await keep(
        store,
        row("a", name="web"),
        row("b", name="web", seconds=1, project="q"),
        row("c", name="web", seconds=-1),
        row("d", name="webb"),
    )
    assert [each.id for each in await store.find("instances", "web", {})] == ["b", "a", "c"]
    assert [each.id for each in await store.find("instances", "web", {"project": "p", "deleted": False})] == ["a", "c"]
    assert await store.find("instances", "WEB", {}) == []


async def test_no_more_than_twenty_are_found_by_name(store: Store) -> None:
    await keep(store, *(row(f"{number:02}", name="web", seconds=number) for number in range(25)))
    found = await store.find("instances", "web", {})
    assert [each.id for each in found] == [f"{number:02}" for number in range(24, 4, -1)]


async def test_rows_are_counted(store: Store) -> None:
    assert await store.count("instances") == 0
    await keep(store, row("a"), row("b"))
    assert (await store.count("instances"), await store.count("ports")) == (2, 0)


# Pages


async def test_pages_follow_one_another_from_newest_to_oldest_even_where_many_were_made_at_once(store: Store) -> None:
    rows = [row(f"{number:03}", seconds=number // 10) for number in range(57)]
    await keep(store, *rows)
    expected = sorted((each.id for each in rows), key=lambda each: (int(each) // 10, each), reverse=True)
    for limit in (1, 7, 57, 60):
        seen: list[str] = []
        marker = ""
        while True:
            page = await store.page("instances", Query(limit=limit, marker=marker))
            found = [orjson.loads(doc)["id"] for doc in page.docs]
            seen += found
            assert page.last_id == found[-1]
            if not page.more:
                break
            assert len(found) == limit
            marker = page.last_id
        assert seen == expected


async def test_a_moment_is_kept_to_the_microsecond(store: Store) -> None:
    await keep(store, row("old"), row("new", seconds=1e-6))
    assert await ids(store) == ["new", "old"]
    assert await ids(store, marker="new") == ["old"]


async def test_a_page_may_leave_some_out_after_its_marker(store: Store) -> None:
    await keep(store, *(row(str(number), seconds=-number) for number in range(6)))
    assert await ids(store, skip=4) == ["4", "5"]
    assert await ids(store, marker="1", skip=2, limit=1) == ["4"]
    page = await store.page("instances", Query(skip=9))
    assert (page.docs, page.last_id, page.more) == ([], "", False)


async def test_a_marker_need_not_be_what_is_looked_for_but_has_to_be_there(store: Store) -> None:
    await keep(store, row("a", seconds=3), row("b", seconds=2, project="q"), row("c", seconds=1))
    assert await ids(store, Condition("project", "=", "p"), marker="b") == ["c"]
    assert await ids(store, marker="c") == []
    with pytest.raises(UnknownMarker):
        await store.page("instances", Query(marker="nothing"))


CONDITIONS: list[tuple[str, Operator, Any, str]] = [
    ("name", "=", "a", "a"),
    ("name", "=", "", ""),
    ("name", "!=", "a", "bc"),
    ("name", "in", ["a", "c", "x"], "ac"),
    ("name", "in", [], ""),
    ("name", ">=", "b", "bc"),
    ("name", "<=", "b", "ab"),
    ("deleted", "=", True, "c"),
    ("deleted", "!=", True, "ab"),
    ("deleted", "in", [True, False], "abc"),
    ("updated", ">=", NOW + timedelta(seconds=1), "bc"),
    ("updated", "<=", NOW + timedelta(seconds=1), "ab"),
    ("updated", "=", NOW, "a"),
    ("ips", "contains", "10.0.0.1", "ab"),
    ("ips", "contains", "10.0.0.2", "b"),
    ("ips", "contains", "10.0.0", ""),
    ("ips", "=", [], "c"),
]


@pytest.mark.parametrize(("column", "operator", "value", "expected"), CONDITIONS)
async def test_a_condition_holds_or_does_not(
    store: Store, column: str, operator: Operator, value: Any, expected: str
) -> None:
    await keep(
        store,
        row("a", ips=["10.0.0.1"]),
        row("b", ips=["10.0.0.2", "10.0.0.1"], updated=NOW + timedelta(seconds=1)),
        row("c", updated=NOW + timedelta(seconds=2), deleted=True),
    )
    assert sorted(await ids(store, Condition(column, operator, value))) == list(expected)


async def test_conditions_hold_all_together_and_with_the_marker(store: Store) -> None:
    await keep(store, *(row(str(number), seconds=-number, zone=f"z{number % 2}") for number in range(8)))
    where = (Condition("zone", "=", "z1"), Condition("name", "!=", "5"))
    assert await ids(store, *where) == ["1", "3", "7"]
    assert await ids(store, *where, marker="1", limit=1) == ["3"]
    assert not (await store.page("instances", Query(where=where, limit=3))).more


async def test_a_value_with_quotes_is_a_value(store: Store) -> None:
    await keep(store, row("a", name="x' or true --"), row("b"))
    assert await ids(store, Condition("name", "=", "x' or true --")) == ["a"]
    assert await ids(store, Condition("name", "=", "' or true --")) == []


@pytest.mark.parametrize("view", VIEWS)
async def test_every_view_keeps_and_finds_its_rows(store: Store, view: str) -> None:
    samples = {"text": "x", "bigint": 1, "boolean": True, "timestamptz": NOW, "text[]": ["x"]}
    columns = {column.name: samples[column.type] for column in VIEWS[view].columns}
    await keep(store, Row("one", 1, NOW, columns, {"id": "one"}), view=view)
    conditions = tuple(Condition(name, "=", value) for name, value in columns.items())
    assert len((await store.page(view, Query(where=conditions))).docs) == 1


# History


async def test_an_entry_is_as_it_was_written(store: Store) -> None:
    whole = entry(
        "e",
        subject=Key("network", "n"),
        version=7,
        type="t",
        partition=3,
        offset=9,
        task="k",
        verdict="accepted",
        data=bytes(range(256)),
    )
    await remember(store, whole)
    assert await store.history(HistoryQuery()) == [whole]
    assert await store.event("e") == whole
    assert await store.event("f") is None


async def test_history_is_told_oldest_first_by_time_then_partition_then_offset(store: Store) -> None:
    await remember(
        store,
        entry("4", seconds=1, partition=0, offset=0),
        entry("2", partition=0, offset=9),
        entry("3", partition=1, offset=2),
        entry("1", partition=0, offset=8),
    )
    assert await past(store) == ["1", "2", "3", "4"]
    assert await past(store, limit=2) == ["1", "2"]
    for marker in range(1, 5):
        assert await past(store, marker=str(marker)) == [str(number) for number in range(marker + 1, 5)]


async def test_history_after_an_unknown_entry_is_refused(store: Store) -> None:
    with pytest.raises(UnknownMarker):
        await store.history(HistoryQuery(marker="nothing"))


ENTRIES = [
    entry("a", task="t"),
    entry("b", seconds=1, offset=1, subject=Key("instance", "two"), actor="bob", type="t"),
    entry("c", seconds=2, offset=2, subject=Key("host", "one"), project="q", correlation="u"),
    entry("d", seconds=3, offset=3, actor="bob", task="v"),
]
ONE = "6f1c1f4e-0000-4000-8000-000000000001"
OF_ONE_ID = [
    entry("e", seconds=8, subject=Key("host", ONE), partition=1, offset=1),
    entry("f", seconds=7, subject=Key("instance", ONE), partition=1, offset=2, type="t"),
]
FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "abcd"),
    ({"subject": "instance/one"}, "ad"),
    ({"subject": "host/one"}, "c"),
    ({"subject": "host/two"}, ""),
    ({"types": ("t",)}, "b"),
    ({"types": ("x", "t*")}, "b"),
    ({"types": ("gostack.instance.*", "t")}, "abcd"),
    ({"types": ("*.created.*",), "actor": "bob"}, "d"),
    ({"types": ("gostack%*", "gostack_instance*", "*\\*")}, ""),
    ({"subject": ONE}, "ef"),
    ({"subject": ONE, "types": ("t",)}, "f"),
    ({"actor": "bob"}, "bd"),
    ({"project": "q"}, "c"),
    ({"task": "t"}, "abd"),
    ({"task": "u"}, "c"),
    ({"task": "v"}, "d"),
    ({"since": NOW + timedelta(seconds=1)}, "bcd"),
    ({"until": NOW + timedelta(seconds=1)}, "ab"),
    ({"since": NOW + timedelta(seconds=1), "until": NOW + timedelta(seconds=2)}, "bc"),
    ({"subject": "instance/one", "actor": "bob"}, "d"),
    ({"actor": "bob", "marker": "b"}, "d"),
    ({"actor": "bob", "marker": "a"}, "bd"),
    ({"actor": "bob", "limit": 1}, "b"),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[str(sorted(query)) for query, _ in FILTERS])
async def test_history_is_narrowed_by_what_is_asked(store: Store, query: dict[str, Any], expected: str) -> None:
    await remember(store, *ENTRIES, *(OF_ONE_ID if query.get("subject") == ONE else ()))
    assert "".join(await past(store, **query)) == expected
    found = await store.search(HistoryQuery(**query), 1000)
    assert "".join(each.id for each in found.entries) == expected


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 3), (1, 4), (50, 2), (50, 50)])
@pytest.mark.parametrize(("query", "expected"), [each for each in FILTERS if not each[0].keys() & {"marker", "limit"}])
async def test_a_search_looks_at_so_many_and_says_where_to_go_on(
    store: Store, query: dict[str, Any], expected: str, limit: int, most: int
) -> None:
    await remember(store, *ENTRIES, *(OF_ONE_ID if query.get("subject") == ONE else ()))
    found, marker, pages = "", "", 0
    while True:
        page = await store.search(HistoryQuery(**query, limit=limit, marker=marker), most)
        assert len(page.entries) <= limit
        found += "".join(each.id for each in page.entries)
        marker = page.next
        pages += 1
        if not marker:
            break
    assert found == expected
    assert pages <= 1 + len(ENTRIES)


async def test_a_search_after_an_unknown_entry_is_refused(store: Store) -> None:
    with pytest.raises(UnknownMarker):
        await store.search(HistoryQuery(marker="nothing"), 10)


async def test_a_subject_that_is_none_is_no_question(store: Store) -> None:
    with pytest.raises(ValueError, match="KIND/ID"):
        await store.history(HistoryQuery(subject="instance"))


# Dead records, of which nothing is certain


async def test_dead_records_are_rows_whatever_they_hold(store: Store) -> None:
    log = MemoryLog()
    odd = [{"ce_subject": b"x" * 100_000}, {"ce_subject": b"a\0b/\xff"}, {"ce_time": b"\0"}, {"ce_type": b""}]
    await log.publish([dead(number, **headers) for number, headers in enumerate(odd)])
    await project(store, log, 2)
    await log.publish([closed(1, DeadDropped()), closed(1, DeadRetried(record_id="r")), dead(2)])
    await project(store, log, 1)
    assert [each["id"] for each in await rows(store)] == [ident(number) for number in (3, 2, 1, 0)]
    assert [each["id"] for each in await rows(store, status="dropped")] == [ident(1)]
    assert [each["id"] for each in await rows(store, status="dead", kind="instance")] == [ident(3), ident(2)]
    page = await store.page("dead", Query(limit=2, marker=ident(2)))
    assert [orjson.loads(doc)["offset"] for doc in page.docs] == [1, 0]
    _, problems = await compare(log, store)
    assert problems == []


# Compared with the log


async def lived(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryLog, list[ProjectionBatch]]:
    """A log with all that a boot leads to, and what a projector makes of it: first all that there was before an update,
    with every state written down, then what followed; two events were published twice, one of them a refusal."""
    world = World()
    await world.start()
    await world.host("h1")
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    await world.send(WEB, boot_command())
    await world.send(Key("network", NETWORK), DeleteNetwork())
    await world.log.publish(world.log.all(Topic.EVENTS)[-1:])
    await world.log.publish([dead(1)])
    batches: list[ProjectionBatch] = []

    class Recording(MemoryStore):
        async def apply(self, batch: ProjectionBatch) -> None:
            batches.append(deepcopy(batch))
            await super().apply(batch)

    store = Recording()
    monkeypatch.setattr("projections.projector.MILESTONE_EVENTS", 4)
    for events in (1, 1000):
        monkeypatch.setattr("projections.projector.SNAPSHOT_EVENTS", events)
        await project(store, world.log)
        if events == 1:
            await world.send(WEB, UpdateInstance(name="other"))
            await world.log.publish(world.log.all(Topic.EVENTS)[-1:])
            await world.log.publish([closed(1, DeadDropped())])
    assert len(batches) == 2
    assert len(batches[0].states) >= 4
    assert [each.version for each in batches[0].milestones if each.subject == WEB][:2] == [4, 8]
    return world.log, batches


async def compared(store: Store, log: MemoryLog, *batches: ProjectionBatch) -> list[str]:
    await store.positions(list(batches[0].start))
    for batch in batches:
        await store.apply(batch)
    _, problems = await compare(log, store)
    return problems


async def test_what_a_projector_made_is_what_the_log_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    log, batches = await lived(monkeypatch)
    assert await compared(store, log, *batches) == []


async def test_it_is_compared_as_it_was_while_projecting_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    log, (before, since) = await lived(monkeypatch)
    await store.positions(list(before.start))
    await store.apply(before)

    async def go_on(done: int, total: int) -> None:
        await store.apply(since)

    folded, problems = await compare(log, store, go_on)
    assert (problems, folded.behind) == ([], sum(since.end.values()) - sum(since.start.values()))
    _, problems = await compare(log, store)
    assert problems == []


async def test_every_column_is_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    log, batches = await lived(monkeypatch)
    others = {"text": "?", "boolean": True, "timestamptz": NOW, "text[]": ["?"]}
    rows = batches[1].rows["instances"]
    rows[WEB.id] = replace(
        rows[WEB.id],
        version=99,
        created=NOW,
        columns={column.name: others[column.type] for column in VIEWS["instances"].columns},
    )
    problems = await compared(store, log, *batches)
    names = sorted(["version", "created", *(column.name for column in VIEWS["instances"].columns)])
    assert [each.partition(" is ")[0] for each in problems] == [f"instances {WEB.id}: column {name}" for name in names]
    assert f'instances {WEB.id}: column status is "?", the log makes it "active"' in problems


def lose_row(batches: list[ProjectionBatch]) -> str:
    del batches[0].rows["networks"][NETWORK]
    return f"networks {NETWORK}: the row is missing"


def add_row(batches: list[ProjectionBatch]) -> str:
    rows = batches[0].rows["networks"]
    rows["x"] = replace(rows[NETWORK], id="x")
    return "networks x: the row exists, and the log makes no such row"


def change_document(batches: list[ProjectionBatch]) -> str:
    row = batches[1].rows["instances"][WEB.id]
    row.doc["name"] = "?" * 10_000
    told = '"' + "?" * 199
    return f'instances {WEB.id}: name is {told}, the log makes it "other"'


def lose_event(batches: list[ProjectionBatch]) -> str:
    gone = batches[0].history.pop(3)
    return f"history: the event at {gone.topic}:{gone.partition}:{gone.offset} is missing"


def add_event(batches: list[ProjectionBatch]) -> str:
    like = batches[0].history[3]
    batches[1].history.append(like._replace(id="x"))
    return f"history x: the entry exists, and the log has no such event at {like.topic}:{like.partition}:{like.offset}"


def add_event_behind(batches: list[ProjectionBatch]) -> str:
    batches[1].history.append(batches[0].history[3]._replace(id="x", partition=77))
    return "history x: the entry exists, and the log has no such event at gostack.events:77:"


def change_event(**changes: Any) -> Callable[[list[ProjectionBatch]], str]:
    def change(batches: list[ProjectionBatch]) -> str:
        right = batches[0].history[3]
        batches[0].history[3] = right._replace(**changes)
        return f"history {right.id}: the entry differs from the event at {right.topic}:{right.partition}:{right.offset}"

    return change


def change_state(batches: list[ProjectionBatch]) -> str:
    """Which a later event changes again."""
    right = batches[0].states[WEB]
    wrong = right.state.replace(b'"name":"web"', b'"name":"?"', 1)
    assert wrong != right.state
    batches[0].states[WEB] = replace(right, state=wrong)
    return f'state of {WEB} at version {right.version}: name is "?", the log makes it "web"'


def change_offset(batches: list[ProjectionBatch]) -> str:
    right = batches[0].states[WEB]
    batches[0].states[WEB] = replace(right, offset=7777)
    return f"state of {WEB} at version {right.version}: its offset is 7777, the log makes it {right.offset}"


def change_time(batches: list[ProjectionBatch]) -> str:
    right = batches[0].states[WEB]
    batches[0].states[WEB] = replace(right, time=NOW)
    return f"state of {WEB} at version {right.version}: its time is {NOW}, the log makes it {right.time}"


def spoil_state(batches: list[ProjectionBatch]) -> str:
    right = batches[0].states[WEB]
    batches[0].states[WEB] = replace(right, state=b"{")
    return f"state of {WEB} at version {right.version}: it cannot be read: "


def add_state(batches: list[ProjectionBatch]) -> str:
    batches[1].states[Key("host", "x")] = batches[0].states[WEB]
    return f"state of host/x at version {batches[0].states[WEB].version}: the log makes no such state"


def write_state_too_far(batches: list[ProjectionBatch]) -> str:
    batches[1].states[WEB] = replace(batches[0].states[WEB], version=99)
    return f"state of {WEB} at version 99: the log makes no such state"


def change_milestone(**changes: Any) -> Callable[[list[ProjectionBatch]], str]:
    def change(batches: list[ProjectionBatch]) -> str:
        at, right = next((at, each) for at, each in enumerate(batches[0].milestones) if each.subject == WEB)
        batches[0].milestones[at] = right._replace(**changes)
        (name,) = changes
        told = {"state": "it cannot be read", "version": "the log makes no such state"}.get(name, f"{name} is ")
        return f"milestone of {WEB} at version {changes.get('version', 4)}: {told}"

    return change


def change_milestones_name(batches: list[ProjectionBatch]) -> str:
    at, right = next((at, each) for at, each in enumerate(batches[0].milestones) if each.subject == WEB)
    batches[0].milestones[at] = right._replace(state=right.state.replace(b'"name":"web"', b'"name":"?"', 1))
    return f'milestone of {WEB} at version 4: name is "?", the log makes it "web"'


def change_dead_state(batches: list[ProjectionBatch]) -> str:
    (key,) = (key for key in batches[1].states if key.kind == "dead")
    right = batches[1].states[key]
    batches[1].states[key] = replace(right, state=right.state.replace(b'"dropped"', b'"retried"'))
    return f'state of {key} at version 2: status is "retried", the log makes it "dropped"'


@pytest.mark.parametrize(
    "damage",
    [
        lose_row,
        add_row,
        change_document,
        lose_event,
        add_event,
        add_event_behind,
        *(
            change_event(**each)
            for each in (
                {"actor": "?"},
                {"data": b"{}"},
                {"version": 99},
                {"time": NOW},
                {"type": "?"},
                {"verdict": "?"},
                {"subject": Key("host", "?")},
            )
        ),
        change_state,
        change_offset,
        change_time,
        spoil_state,
        add_state,
        write_state_too_far,
        change_milestones_name,
        *(
            change_milestone(**each)
            for each in (
                {"state": b"{"},
                {"version": 99},
                {"event": "?"},
                {"time": NOW},
                {"partition": 77},
                {"offset": 7},
            )
        ),
        change_dead_state,
    ],
)
async def test_damage_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch, damage: Callable[[list[ProjectionBatch]], str]
) -> None:
    log, batches = await lived(monkeypatch)
    told = damage(batches)
    (problem,) = await compared(store, log, *batches)
    assert problem.startswith(told)


async def test_a_state_of_an_earlier_release_says_no_offset_nor_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, batches = await lived(monkeypatch)
    batches[0].states[WEB] = replace(batches[0].states[WEB], offset=-1, time=LONG_AGO)
    assert await compared(store, log, *batches) == []


async def test_of_many_differences_some_are_told_and_the_rest_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, batches = await lived(monkeypatch)
    batches[1].history += [batches[0].history[3]._replace(id=str(number)) for number in range(150)]
    problems = await compared(store, log, *batches)
    assert len(problems) == MOST
    assert problems[-1] == f"and {150 - MOST + 1} more"


@pytest.mark.real
async def test_those_who_are_too_many_to_wait_for_a_connection_are_refused_at_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.db.pool.MOST_WAITING", 1)
    store = PostgresStore(dsn, pool_size=1)
    await store.open()
    async with store.frozen():
        patient = asyncio.create_task(store.count("instances"))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await store.count("instances")
        assert not patient.done()
    assert await patient >= 0
    await store.close()


@pytest.mark.real
async def test_rows_of_an_earlier_release_have_what_they_would_have_had(dsn: str) -> None:
    """Its tables have not every column of today's."""
    with psycopg.connect(dsn) as connection:
        connection.execute("truncate read.hosts")
        connection.execute("alter table read.hosts drop column cell")
        connection.execute(
            "insert into read.hosts (id, version, created, doc, name, zone, enabled, health) "
            "values ('h', 1, now(), '{}', 'h', 'z', true, 'up')"
        )
    create_tables(dsn)
    postgres = PostgresStore(dsn, pool_size=2)
    await postgres.open()
    assert await postgres.totals("hosts", "cell", []) == {"default": (1,)}
    await postgres.close()


@pytest.mark.real
async def test_the_tables_of_an_earlier_release_get_milestones(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("truncate read.states, read.history")
        connection.execute("alter table read.states drop column at")
        connection.execute("drop table read.milestones")
        connection.execute(
            "insert into read.states (kind, id, version, \"offset\", state) values ('host', 'h', 5, 9, '')"
        )
    create_tables(dsn)
    postgres = PostgresStore(dsn, pool_size=2)
    await postgres.open()
    key = Key("host", "h")
    assert await postgres.states([key]) == {key: StoredState(5, b"", (), LONG_AGO)}
    await postgres.apply(ProjectionBatch(milestones=[milestone(10, subject=key)]))
    assert await postgres.milestone(key) == milestone(10, subject=key)
    await postgres.close()


@pytest.mark.real
async def test_a_projector_that_holds_a_table_gets_the_others_while_tables_are_brought_up_to_date(dsn: str) -> None:
    """Who made them would wait for that table, and the projector for one that it had: a deadlock."""
    tables = ["states", "milestones", "history", *VIEWS]
    for last in tables:
        with psycopg.connect(dsn) as projector, psycopg.connect(dsn, autocommit=True) as watcher:

            def locked(table: str) -> sql.Composed:
                return sql.SQL("lock table {} in row exclusive mode").format(sql.Identifier(SCHEMA, table))

            projector.execute(locked(last))
            making = asyncio.create_task(asyncio.to_thread(create_tables, dsn))
            waiting = "select 1 from pg_locks where not granted and relation = %s::regclass"
            for _ in range(1000):
                if watcher.execute(waiting, (f"{SCHEMA}.{last}",)).fetchone():
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail(f"making the tables did not come to {last}")
            for table in tables:
                projector.execute(locked(table))
            projector.commit()
            await making


# Orders and patterns of names


async def pages(store: Store, sort: str, reverse: bool = False, limit: int = 2, *where: Condition) -> list[str]:
    """Ids on all pages of instances, one after the other."""
    found: list[str] = []
    marker = ""
    while True:
        query = Query(where=where, sort=sort, reverse=reverse, limit=limit, marker=marker)
        page = await store.page("instances", query)
        found += [orjson.loads(doc)["id"] for doc in page.docs]
        if not page.more:
            return found
        marker = page.last_id


async def test_pages_in_the_order_of_a_column(store: Store) -> None:
    names = {"1": "b", "2": "a", "3": "B", "4": "ä", "5": "a", "6": "a_c", "7": "aB"}
    await keep(store, *(row(ident, name=name, seconds=int(ident)) for ident, name in names.items()))
    in_order = ["3", "5", "2", "7", "6", "1", "4"]
    for limit in (1, 2, 3, 10):
        assert await pages(store, "name", limit=limit) == in_order
        assert await pages(store, "name", reverse=True, limit=limit) == in_order[::-1]
        assert await pages(store, "created", limit=limit) == sorted(names)
        assert await pages(store, "created", reverse=True, limit=limit) == sorted(names, reverse=True)


async def test_an_order_within_several_values_of_a_column(store: Store) -> None:
    statuses = ("active", "error", "active", "stopped", "error", "active")
    await keep(store, *(row(str(n), status=status, seconds=n) for n, status in enumerate(statuses)))
    some = Condition("status", "in", ["active", "error"])
    assert await pages(store, "status", False, 2, some) == ["5", "2", "0", "4", "1"]
    assert await pages(store, "status", True, 2, some) == ["1", "4", "0", "2", "5"]
    assert await pages(store, "name", False, 2, some) == ["0", "1", "2", "4", "5"]


async def test_a_marker_of_an_order_need_not_match(store: Store) -> None:
    await keep(store, row("1", name="a"), row("2", name="b", status="error"), row("3", name="c"))
    active = Condition("status", "=", "active")
    assert await ids(store, active, sort="name", marker="2") == ["3"]
    assert await ids(store, active, sort="name", reverse=True, marker="2") == ["1"]


async def test_names_by_a_pattern(store: Store) -> None:
    names = ("web-1", "web-2", "Web", "we%b", "we_b", "we\\b", "db-web", "w", "line\nweb")
    await keep(store, *(row(str(n), name=name) for n, name in enumerate(names)))

    async def found(pattern: str) -> set[str]:
        return {names[int(ident)] for ident in await ids(store, Condition("name", "like", pattern))}

    assert await found("web*") == {"web-1", "web-2"}
    assert await found("*web") == {"db-web", "line\nweb"}
    assert await found("*web*") == {"web-1", "web-2", "db-web", "line\nweb"}
    assert await found("we%*") == {"we%b"}
    assert await found("we_*") == {"we_b"}
    assert await found("we\\*") == {"we\\b"}
    assert await found("w*1") == {"web-1"}
    assert await found("w*") == set(names) - {"Web", "db-web", "line\nweb"}
    assert await found("[a-z]*") == set()
    assert await found("*") == set(names)


@pytest.mark.real
def test_tables_of_an_earlier_release_get_the_columns_and_indexes_of_this_one(dsn: str) -> None:
    schema = "older"

    def indexes(connection: psycopg.Connection[Any]) -> set[str]:
        rows = connection.execute("select indexname from pg_indexes where schemaname = %s", (schema,))
        return {name for (name,) in rows}

    create_tables(dsn, schema)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter table older.volumes drop column instance_id, drop column pool_id")
        connection.execute("drop index older.volumes_name_pattern")
        connection.execute("create index volumes_name on older.volumes (name, created desc, id desc)")
        connection.execute(
            "insert into older.volumes (id, version, created, doc, name, project, deleted, status, host_id) "
            "values ('v', 1, now(), '{}', 'n', 'p', false, 'available', '')"
        )
        create_tables(dsn, schema)
        assert connection.execute("select instance_id, pool_id from older.volumes").fetchall() == [("", "")]
        found = indexes(connection)
        assert {"volumes_name_pattern", "volumes_instance_id", "volumes_order"} <= found
        assert "volumes_name" not in found
        connection.execute("drop schema older cascade")


@pytest.mark.real
def test_a_beginning_and_an_order_of_names_are_read_off_the_index(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("set local enable_seqscan = off")
        connection.execute("set local enable_sort = off")
        connection.execute("set local enable_bitmapscan = off")
        view, prefix = VIEWS["instances"], Query((Condition("name", "like", "web*"),), sort="name")
        for reverse in (False, True):
            order = order_of(view, replace(prefix, reverse=reverse))
            filters = of_view(prefix.where)
            query = sql.SQL("explain select id from {} {} order by {} limit 10").format(
                sql.Identifier(SCHEMA, "instances"), filters.clause, order.clause(order.by)
            )
            plan = " ".join(line for (line,) in connection.execute(query, filters.values))
            assert "instances_name_pattern" in plan
            assert "Index Cond" in plan
            assert "Sort" not in plan
