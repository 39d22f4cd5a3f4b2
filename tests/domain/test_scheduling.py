"""The scheduler's choice: filters, weighers, claims, and what it says about them."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.aggregates import AGGREGATES
from domain.core.errors import (
    AlreadyExists,
    ClaimGone,
    HostFull,
    HostGone,
    InUse,
    Invalid,
    NotFound,
    OtherCell,
    Refusal,
)
from domain.core.messages import Envelope, Event, Key, Message, Outcome, Topic
from domain.guest_spec import HostRef
from domain.host.messages import (
    AssignZone,
    DisableHost,
    EnableHost,
    HearHost,
    HostClaimMade,
    HostClaimReleased,
    HostClaimResized,
    HostDisabled,
    HostEnabled,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostUplinkChanged,
    HostZoneAssigned,
    Inventory,
    PlacementRefused,
    RegisterHost,
    SuspectHost,
)
from domain.host.state import Claim, Host, HostHealth
from domain.instance.actions.power.stop import StopInstance
from domain.jobs.scheduling import Placed, PlaceInstance, Released, ReleaseInstance, ResizeHostClaim
from domain.named import heir_of
from domain.scheduling.decider import Cell, decide, zone_id
from domain.scheduling.filters import FILTERS
from domain.scheduling.policy import BEST, DEFAULT, Policy, choose, ordered, refusal
from domain.scheduling.table import FIRST_ROWS, RECENT, HostTable, Ratios
from domain.scheduling.weighers import FEWEST_BUILDING, FREE_MEMORY, FREE_VCPU, WEIGHERS, scaled
from domain.tasks.messages import JobError, JobResult, JobsAnswered, Reply
from domain.zone import CreateZone, DeleteZone, UpdateZone, Zone, ZoneCreated, ZoneDeleted, ZoneUpdated

START = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1 << 30
PARTITIONS = 4
PLAIN = Ratios(vcpus=1.0, memory=1.0, disk=1.0)


def host(name: str, **changes: Any) -> Host:
    """A host with room: 8 vCPUs, 32 GiB, 100 GiB."""
    given = {name: changes.pop(name) for name in ("vcpus", "memory", "disk", "arch") if name in changes}
    whole = {"vcpus": 8, "memory": 32 * GIB, "disk": 100 * GIB} | given
    return Host(
        id=f"id-{name}",
        name=name,
        zone="z1",
        inventory=Inventory(**whole),
        partition=0,
        epoch=1,
        created=START,
        updated=START,
    ).but(**changes)


def claim(vcpus: int = 1, memory: int = GIB, disk: int = GIB) -> Claim:
    return Claim(instance_id="x", project="p", vcpus=vcpus, memory=memory, disk=disk)


def holding(name: str, *numbers: int) -> Host:
    """A host with claims that have these numbers among the cell's placements."""
    claims = {f"i{number}": claim().but(instance_id=f"i{number}", number=number) for number in numbers}
    return host(name, claims=claims, placed=max(numbers))


def request(instance: str = "i1", **changes: Any) -> PlaceInstance:
    return PlaceInstance(
        reply=Reply(subject=f"instance/{instance}", task_id="task", dispatch_id="dispatch", job_id=instance),
        instance_id=instance,
        project="p",
        vcpus=2,
        memory=4 * GIB,
        disk=10 * GIB,
    ).but(**changes)


def table(*hosts: Host, ratios: Ratios = PLAIN) -> HostTable:
    made = HostTable(ratios)
    for each in hosts:
        made.put(each)
    return made


def left(name: str, hosts: Sequence[Host], asked: PlaceInstance) -> list[str]:
    """Names of the hosts that a filter leaves."""
    made = table(*hosts)
    mask = FILTERS[name].mask(asked, made, slice(0, len(made)))
    assert mask.shape == (len(hosts),)
    return [each.name for each, good in zip(hosts, mask, strict=True) if good]


@dataclass
class Scene:
    """One cell's story: states by key, and the table that follows them, as the scheduler keeps them."""

    cell: Cell = field(default_factory=lambda: Cell("c", HostTable(PLAIN), DEFAULT, PARTITIONS))
    states: dict[Key, Any] = field(default_factory=dict)
    number: int = 0
    last: Outcome = field(default_factory=Outcome)

    def send(self, subject: Key, message: Message) -> "Scene":
        """Decide and apply; raises the Refusal."""
        self.number += 1
        envelope = Envelope(
            id=str(uuid.UUID(int=self.number)),
            data=message,
            subject=subject,
            time=START + timedelta(seconds=self.number),
            source="test",
            correlation="c",
        )
        self.last = decide(
            envelope, self.states.get(subject), lambda ident: self.states.get(Key("zone", ident)), self.cell
        )
        for key, event in self.last.events:
            self.states[key] = AGGREGATES[key.kind].evolve(self.states.get(key), event, key.id)
            if isinstance(self.states[key], Host):
                self.cell.table.put(self.states[key])
        return self

    def zone(self, name: str) -> Zone | None:
        """The last zone of this name."""
        ident = zone_id(name)
        while Key("zone", heir_of(ident)) in self.states:
            ident = heir_of(ident)
        zone: Zone | None = self.states.get(Key("zone", ident))
        return zone

    def register(self, name: str, zone: str = "z1", **inventory: Any) -> "Scene":
        whole: dict[str, Any] = {"vcpus": 8, "memory": 32 * GIB, "disk": 100 * GIB} | inventory
        return self.send(Key("host", name), RegisterHost(name=name, zone=zone, inventory=Inventory(**whole)))

    def host(self, name: str) -> Host:
        found = self.states[Key("host", name)]
        assert isinstance(found, Host)
        return found

    def place(self, instance: str = "i1", **changes: Any) -> "Scene":
        return self.send(Key("cell", "c"), request(instance, **changes))

    def release(self, instance: str = "i1") -> "Scene":
        reply = Reply(subject=f"instance/{instance}", task_id="task", dispatch_id="dispatch", job_id=instance)
        return self.send(Key("cell", "c"), ReleaseInstance(reply=reply, instance_id=instance, claims=(instance,)))

    def resize(self, instance: str = "i1", **amounts: Any) -> "Scene":
        reply = Reply(subject=f"instance/{instance}", task_id="task", dispatch_id="dispatch", job_id=instance)
        command = ResizeHostClaim(reply=reply, instance_id=instance, claims=("another", instance), **amounts)
        return self.send(Key("cell", "c"), command)

    def refused(self, subject: Key, message: Message, kind: type[Refusal]) -> str:
        with pytest.raises(kind) as caught:
            self.send(subject, message)
        return str(caught.value)

    def send_refused(self, send: Callable[..., "Scene"], kind: type[Refusal], **amounts: Any) -> str:
        with pytest.raises(kind) as caught:
            send(**amounts)
        return str(caught.value)

    def result(self) -> JobResult:
        """What the last job was answered."""
        (answer,) = self.last.outgoing
        assert (answer.topic, answer.subject.kind) == (Topic.RESULTS, "instance")
        assert isinstance(answer.data, JobsAnswered)
        (result,) = answer.data.results
        return result

    def placed(self) -> HostRef:
        (fact,) = self.result().facts
        assert isinstance(fact, Placed)
        return fact.host

    def error(self) -> JobError:
        error = self.result().error
        assert error is not None
        return error

    def events(self) -> list[type[Event]]:
        return [type(event) for _, event in self.last.events]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def zone_key(name: str) -> Key:
    return Key("zone", zone_id(name))


# Filters


def test_only_hosts_that_are_enabled_and_up_are_left() -> None:
    hosts = [host("a"), host("b", enabled=False), host("c", health=HostHealth.SUSPECT)]
    assert left("enabled-and-up", hosts, request()) == ["a"]


def test_a_zone_leaves_its_own_hosts_and_no_zone_all() -> None:
    hosts = [host("a"), host("b", zone="z2")]
    assert left("zone", hosts, request(zone="z2")) == ["b"]
    assert left("zone", hosts, request()) == ["a", "b"]
    assert left("zone", hosts, request(zone="nowhere")) == []


def test_a_wanted_host_is_the_only_one_left() -> None:
    hosts = [host("a"), host("b")]
    assert left("wanted-host", hosts, request(wanted_host="id-b")) == ["b"]
    assert left("wanted-host", hosts, request()) == ["a", "b"]
    assert left("wanted-host", hosts, request(wanted_host="id-x")) == []


def test_only_hosts_of_the_images_architecture_are_left() -> None:
    hosts = [host("a"), host("b", arch="aarch64")]
    assert left("arch", hosts, request(arch="aarch64")) == ["b"]
    assert left("arch", hosts, request()) == ["a"]
    assert left("arch", hosts, request(arch="")) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "field_name", "unit"), [("vcpu", "vcpus", 1), ("memory", "memory", GIB), ("disk", "disk", GIB)]
)
def test_a_host_has_to_have_as_much_left_as_is_asked_for_and_no_more(name: str, field_name: str, unit: int) -> None:
    full = claim().but(**{field_name: 5 * unit})
    hosts = [
        host("exact", **{field_name: 7 * unit}, claims={"x": full}),
        host("short", **{field_name: 7 * unit - 1}, claims={"x": full}),
    ]
    assert left(name, hosts, request().but(**{field_name: 2 * unit})) == ["exact"]


def test_ratios_promise_more_than_there_is() -> None:
    made = table(host("a"), ratios=Ratios(vcpus=4.0, memory=1.5, disk=2.0))
    assert (made.free["vcpus"][0], made.free["memory"][0], made.free["disk"][0]) == (32, 48 * GIB, 200 * GIB)


def test_no_filter_counts_rows_that_are_no_hosts() -> None:
    for each in FILTERS.values():
        assert each.mask(request(), table(), slice(0, 0)).shape == (0,), each.name


# Weighers and the policy


@pytest.mark.parametrize(
    ("weigher", "better"), [(FREE_MEMORY, host("b", memory=64 * GIB)), (FREE_VCPU, host("b", vcpus=16))]
)
def test_a_weigher_prefers_the_host_with_more_room(weigher: Any, better: Host) -> None:
    policy = Policy(filters=(), weighers=((weigher, 1.0),))
    assert choose(request(), table(host("a"), better, host("c")), policy).host_id == "id-b"


def test_hosts_that_were_chosen_lately_come_last() -> None:
    made = table(holding("a", 1), host("b"))
    assert choose(request(), made, Policy((), ((FEWEST_BUILDING, 1.0),))).host_id == "id-b"
    made.put(host("a", placed=1))
    assert choose(request(), made, Policy((), ((FEWEST_BUILDING, 1.0),))).host_id == "id-a", "it was released"


def test_lately_is_over_after_many_more_placements() -> None:
    made = table(holding("a", 1), host("b"))
    for last in range(2, RECENT + 2):
        assert made.recent[0] == 1
        made.put(holding("b", *range(2, last + 1)))
    assert (made.recent[0], made.recent[1]) == (0, RECENT)
    assert list(table(holding("b", *range(2, RECENT + 2)), holding("a", 1)).recent[:2]) == [RECENT, 0]
    assert list(table(holding("a", 1), holding("b", *range(2, RECENT + 2))).recent[:2]) == [0, RECENT]


def test_placements_that_an_earlier_release_did_not_count_are_not_building() -> None:
    made = table(holding("a", 0))
    assert (made.recent[0], made.latest) == (0, 0)
    assert made.claimed_by == {"i0": "id-a"}


def test_a_weight_decides_between_weighers() -> None:
    hosts = table(host("memory", memory=64 * GIB), host("vcpus", vcpus=16))
    for memory, vcpus, expected in ((2.0, 1.0, "id-memory"), (1.0, 2.0, "id-vcpus")):
        policy = Policy((), ((FREE_MEMORY, memory), (FREE_VCPU, vcpus)))
        assert choose(request(), hosts, policy).host_id == expected


def test_scores_are_scaled_over_the_hosts_that_are_left() -> None:
    assert list(scaled(np.array([3.0, 5.0, 4.0]))) == [0.0, 1.0, 0.5]
    assert list(scaled(np.array([7.0, 7.0]))) == [0.0, 0.0]
    assert list(scaled(np.array([]))) == []
    huge_but_disabled = host("x", memory=1024 * GIB, enabled=False)
    report = choose(request(), table(host("a"), host("b", memory=33 * GIB), huge_but_disabled), DEFAULT).report
    assert [(each.host, each.score) for each in report.best] == [("b", 1.0), ("a", 0.0)]


def test_among_equals_the_host_registered_first_is_chosen_always() -> None:
    def since(number: int, **changes: Any) -> Host:
        return host(f"h{number}", created=START + timedelta(seconds=number), **changes)

    hosts = [since(number) for number in range(100)]
    assert {choose(request(), table(*hosts), DEFAULT).host_id for _ in range(3)} == {"id-h0"}
    assert choose(request(), table(*reversed(hosts)), DEFAULT).host_id == "id-h0", "however it was put together"
    mixed = [since(number, memory=(32 + number % 7) * GIB) for number in range(500)]
    assert choose(request(), table(*mixed), DEFAULT).host_id == "id-h6"
    assert [each.host for each in choose(request(), table(*mixed), DEFAULT).report.best] == ["h6", "h13", "h20"]
    assert choose(request(), table(host("b"), host("a")), DEFAULT).host_id == "id-a", "of the same moment"


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 4))
def test_the_best_are_those_that_sorting_all_gives(scores: list[int], most: int) -> None:
    ranks = np.random.default_rng(len(scores)).permutation(len(scores))
    expected = sorted(range(len(scores)), key=lambda each: (-scores[each], ranks[each]))[:most]
    assert ordered(np.array(scores, dtype=float), ranks, most) == expected


def test_filters_are_applied_in_the_policys_order_and_each_says_how_many_it_left() -> None:
    hosts = table(host("off", enabled=False), host("far", zone="z2"), host("small", memory=GIB), host("a"), host("b"))
    report = choose(request(zone="z1"), hosts, DEFAULT).report
    assert [(count.filter, count.left) for count in report.counts] == [
        ("enabled-and-up", 4),
        ("zone", 3),
        ("wanted-host", 3),
        ("arch", 3),
        ("vcpu", 3),
        ("memory", 2),
        ("disk", 2),
    ]
    assert report.total == 5
    backwards = Policy(tuple(reversed(DEFAULT.filters)), DEFAULT.weighers)
    names = [count.filter for count in choose(request(), hosts, backwards).report.counts]
    assert names == [each.name for each in reversed(DEFAULT.filters)]


def test_a_report_tells_the_best_few() -> None:
    hosts = [host(f"h{number}", memory=(32 + number) * GIB) for number in range(9)]
    best = choose(request(), table(*hosts), DEFAULT).report.best
    assert [each.host for each in best] == ["h8", "h7", "h6"]
    assert len(best) == BEST


def test_a_refusal_tells_what_every_filter_left_out_in_words_and_numbers() -> None:
    hosts = table(
        host("off", enabled=False), host("far", zone="z2"), host("small", memory=GIB), host("tiny", memory=GIB)
    )
    choice = choose(request(zone="z1"), hosts, DEFAULT)
    assert choice.host_id is None
    problem = refusal(choice.report)
    assert str(problem) == "No valid host: of 4 hosts, 1 disabled or not up, 1 in another zone, 2 short of memory."
    assert problem.values["counts"]["memory"] == 0


def test_a_cell_without_hosts_says_so() -> None:
    assert "of 0 hosts, there are none" in str(refusal(choose(request(), table(), DEFAULT).report))


def test_the_table_grows_past_its_first_rows() -> None:
    hosts = [host(f"h{number}", enabled=number == FIRST_ROWS * 2) for number in range(FIRST_ROWS * 2 + 1)]
    made = table(*hosts)
    assert len(made) == FIRST_ROWS * 2 + 1
    assert choose(request(), made, DEFAULT).host_id == f"id-h{FIRST_ROWS * 2}"


def test_a_hosts_row_is_written_anew_and_keeps_its_number() -> None:
    made = table(host("a"), host("b"))
    made.put(host("a", claims={"x": claim(vcpus=3)}))
    assert (made.rows["id-a"], len(made), made.free["vcpus"][0]) == (0, 2, 5)
    assert made.claimed_by == {"x": "id-a"}
    made.put(host("a"))
    assert (made.free["vcpus"][0], made.claimed_by) == (8, {})


def test_every_filter_and_weigher_is_known_by_its_name() -> None:
    assert all(name == each.name for name, each in FILTERS.items())
    assert all(name == each.name for name, each in WEIGHERS.items())
    assert all(each.story for each in FILTERS.values())


# Placing and releasing


def test_an_instance_is_placed_and_its_resources_are_held(scene: Scene) -> None:
    scene.register("a").place()
    assert scene.placed() == HostRef(id="a", name="a", partition=0, epoch=1)
    assert scene.host("a").claims == {
        "i1": Claim(instance_id="i1", project="p", vcpus=2, memory=4 * GIB, disk=10 * GIB, number=1)
    }
    ((_, made),) = scene.last.events
    assert isinstance(made, HostClaimMade)
    assert made.report.total == 1
    scene.place("i2", zone="z1", wanted_host="a")
    ((_, made),) = scene.last.events
    assert isinstance(made, HostClaimMade)
    assert (made.arch, made.zone, made.wanted_host, made.number) == ("x86_64", "z1", "a", 2), "it tells what was asked"


def test_placing_the_same_instance_twice_gives_the_same_host_and_one_claim(scene: Scene) -> None:
    scene.register("a").register("b").place()
    first = scene.placed()
    scene.register("roomier", memory=1024 * GIB).place()
    assert scene.placed() == first
    assert scene.last.events == []
    assert sum(len(scene.host(name).claims) for name in ("a", "b", "roomier")) == 1


def test_an_instance_that_is_placed_already_stays_even_if_its_host_is_full_or_disabled(scene: Scene) -> None:
    scene.register("a", vcpus=2).place().send(Key("host", "a"), DisableHost())
    assert scene.place().placed().id == "a"


def test_claims_fill_a_host_until_nothing_fits(scene: Scene) -> None:
    scene.register("a")
    for number in range(4):
        assert scene.place(f"i{number}").placed().id == "a"
    assert scene.place("i4").error().code == "no-valid-host"


def test_a_placement_that_is_refused_says_why_and_changes_nothing(scene: Scene) -> None:
    scene.register("a").place(vcpus=9)
    error = scene.error()
    assert (error.code, error.ran) == ("no-valid-host", False)
    assert error.message == "No valid host: of 1 hosts, 1 short of vCPUs."
    assert error.details["vcpu"] == 0
    assert scene.last.events == []
    ((key, notice),) = scene.last.notices
    assert isinstance(notice, PlacementRefused)
    assert (notice.vcpus, notice.memory, notice.disk, notice.arch) == (9, 4 * GIB, 10 * GIB, "x86_64")
    assert key == Key("instance", "i1")
    assert scene.host("a").claims == {}


def test_placements_spread_over_equal_hosts(scene: Scene) -> None:
    for name in ("a", "b", "c"):
        scene.register(name)
    assert [scene.place(f"i{number}").placed().id for number in range(6)] == ["a", "b", "c"] * 2


def test_a_placement_counts_as_building_from_the_moment_it_is_made() -> None:
    scene = Scene(Cell("c", HostTable(PLAIN), Policy((), ((FEWEST_BUILDING, 1.0),)), PARTITIONS))
    scene.register("a").register("b")
    assert [scene.place(f"i{number}").placed().id for number in range(4)] == ["a", "b", "a", "b"]


def test_a_wish_for_a_host_or_a_zone_is_kept(scene: Scene) -> None:
    scene.register("a", "z1").register("b", "z2")
    assert scene.place("i1", zone="z2").placed().id == "b"
    assert scene.place("i2", wanted_host="b").placed().id == "b"
    assert scene.place("i3", wanted_host="b", zone="z1").error().code == "no-valid-host"


def test_releasing_gives_back_what_was_held(scene: Scene) -> None:
    scene.register("a", vcpus=2).place().release()
    assert scene.events() == [HostClaimReleased]
    assert scene.result().facts == (Released(),)
    assert scene.host("a").claims == {}
    assert scene.place("i2").placed().id == "a"


def test_releasing_twice_or_what_was_never_placed_is_done_already(scene: Scene) -> None:
    scene.register("a").place().release().release()
    assert scene.last.events == []
    assert scene.result().facts == (Released(),)
    assert scene.release("never").result().error is None


def test_a_released_instance_may_be_placed_anew(scene: Scene) -> None:
    scene.register("a").place().release().place()
    assert list(scene.host("a").claims) == ["i1"]


def test_a_claim_is_resized_where_its_host_has_room_for_what_is_more(scene: Scene) -> None:
    scene.register("a").place()
    larger: dict[str, Any] = {"vcpus": 8, "memory": 4 * GIB, "disk": 12 * GIB}
    scene.resize(**larger)
    assert scene.events() == [HostClaimResized]
    assert scene.result().error is None
    assert scene.host("a").claims["i1"] == Claim(instance_id="i1", project="p", number=1, **larger)
    assert scene.cell.table.room("a")["vcpus"] == 0
    scene.resize(**larger)
    assert (scene.events(), scene.result().error) == ([], None), "it is so already"
    told = scene.send_refused(scene.resize, HostFull, vcpus=9, memory=4 * GIB, disk=12 * GIB)
    assert told == "Host a has no room for it: 1 more of vcpus, 0 free."
    scene.resize(vcpus=1, memory=GIB, disk=GIB)
    assert scene.place("i2", vcpus=7).placed().id == "a", "what it holds no more is free"
    scene.register("a", vcpus=2).resize(vcpus=1, memory=GIB, disk=2 * GIB)
    assert scene.events() == [HostClaimResized], "what does not grow needs no room, even on a host that has too little"
    assert scene.release().events() == [HostClaimReleased]
    assert scene.send_refused(scene.resize, ClaimGone, vcpus=1) == "No host of the cell holds a claim for i1."


# Hosts


def test_a_new_host_is_registered_and_makes_its_zone(scene: Scene) -> None:
    scene.register("a", "z9")
    assert scene.events() == [HostRegistered, ZoneCreated]
    assert scene.zone("z9") is not None
    assert (scene.host("a").epoch, scene.host("a").health, scene.host("a").enabled) == (1, HostHealth.UP, True)
    assert scene.register("b", "z9").events() == [HostRegistered]


def test_registering_again_raises_the_epoch_and_keeps_partition_zone_and_claims(scene: Scene) -> None:
    scene.register("z").register("a").place(wanted_host="a")
    before = scene.host("a")
    scene.send(Key("host", "a"), DisableHost(why="x")).send(Key("host", "a"), SuspectHost())
    scene.register("a", zone="elsewhere", vcpus=16)
    ((_, event),) = scene.last.events
    assert isinstance(event, HostRegistered)
    assert event.zone == "z1", "an event says what is, not what was asked for"
    after = scene.host("a")
    assert (after.epoch, after.partition, after.zone, after.claims) == (2, before.partition, "z1", before.claims)
    assert (after.inventory.vcpus, after.health) == (16, HostHealth.UP)
    assert not after.enabled, "who disabled it has to enable it"
    assert scene.zone("elsewhere") is None
    assert (after.created, after.updated) == (before.created, START + timedelta(seconds=scene.number))


def test_where_a_hosts_networks_are_reached_and_how_is_told_when_it_changes(scene: Scene) -> None:
    def registers(uplink: str, key: str) -> list[type[Event]]:
        inventory = Inventory(vcpus=1, memory=1, disk=1)
        command = RegisterHost(name="a", zone="z1", cell="c", inventory=inventory, uplink=uplink, tunnel_key=key)
        kinds = scene.send(Key("host", "a"), command).events()
        assert (scene.host("a").uplink, scene.host("a").tunnel_key) == (uplink, key)
        return [each for each in kinds if each is not ZoneCreated]

    changed = [HostRegistered, HostUplinkChanged]
    assert registers("", "") == [HostRegistered]
    assert registers("10.2.0.11", "") == changed
    assert registers("10.2.0.11", "key") == changed
    assert registers("10.2.0.11", "key") == [HostRegistered]
    assert registers("10.2.0.11", "another") == changed
    assert registers("10.2.0.11", "") == changed


def test_what_is_of_another_cell_stays_there(scene: Scene) -> None:
    other = Scene(Cell("d", HostTable(PLAIN), DEFAULT, PARTITIONS), states=scene.states)
    inventory = Inventory(vcpus=1, memory=1, disk=1)
    scene.register("a").send(zone_key("z2"), CreateZone(name="z2", cell="c"))
    assert (scene.host("a").cell, scene.states[zone_key("z1")].cell) == ("c", "c")
    stays = "belongs to cell c, and cannot be moved to another."
    elsewhere = RegisterHost(name="a", zone="z9", cell="d", inventory=inventory)
    assert str(other.refused(Key("host", "a"), elsewhere, OtherCell)) == f"Host a {stays}"
    into_z1 = RegisterHost(name="b", zone="z1", cell="d", inventory=inventory)
    assert str(other.refused(Key("host", "b"), into_z1, OtherCell)) == f"Zone z1 {stays}"
    other.register("b", zone="z3")
    scene.refused(Key("host", "a"), AssignZone(zone="z3"), OtherCell)
    other.refused(zone_key("z2"), CreateZone(name="z2", cell="d"), AlreadyExists)
    scene.send(zone_key("z2"), DeleteZone())
    other.refused(zone_key("z2"), CreateZone(name="z2", cell="d"), OtherCell)
    heir = Key("zone", heir_of(zone_id("z2")))
    other.refused(heir, CreateZone(name="z2", cell="d"), OtherCell)
    scene.refused(zone_key("z2"), CreateZone(name="z2", cell="c"), AlreadyExists)
    scene.refused(Key("zone", heir_of(heir.id)), CreateZone(name="z2", cell="c"), AlreadyExists)
    assert scene.send(heir, CreateZone(name="z2", cell="c")).events() == [ZoneCreated]


def test_hosts_share_partitions_as_evenly_as_may_be(scene: Scene) -> None:
    for number in range(PARTITIONS * 2 + 1):
        scene.register(f"h{number}")
    partitions = [scene.host(f"h{number}").partition for number in range(PARTITIONS * 2 + 1)]
    assert partitions == [0, 1, 2, 3, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("command", [EnableHost(), DisableHost(), AssignZone(zone="z1"), SuspectHost(), HearHost()])
def test_nothing_can_be_done_with_a_host_that_never_registered(scene: Scene, command: Message) -> None:
    scene.refused(Key("host", "a"), command, HostGone)


def test_a_host_changes_once_and_is_so_already_the_second_time(scene: Scene) -> None:
    scene.register("a").send(zone_key("z2"), CreateZone(name="z2"))
    story: list[tuple[Message, type[Event]]] = [
        (DisableHost(why="disk"), HostDisabled),
        (EnableHost(), HostEnabled),
        (AssignZone(zone="z2"), HostZoneAssigned),
        (SuspectHost(), HostSuspected),
        (HearHost(), HostHeard),
    ]
    for command, event in story:
        assert scene.send(Key("host", "a"), command).events() == [event]
        assert scene.send(Key("host", "a"), command).events() == []


def test_a_host_can_be_disabled_for_another_reason(scene: Scene) -> None:
    scene.register("a").send(Key("host", "a"), DisableHost(why="one")).send(Key("host", "a"), DisableHost(why="two"))
    assert scene.host("a").why_disabled == "two"
    assert scene.send(Key("host", "a"), EnableHost()).host("a").why_disabled == ""


def test_a_suspect_host_gets_nothing_new_until_it_is_heard(scene: Scene) -> None:
    scene.register("a").send(Key("host", "a"), SuspectHost())
    assert scene.place().error().details["enabled-and-up"] == 0
    assert scene.send(Key("host", "a"), HearHost()).place().placed().id == "a"


def test_a_host_cannot_be_put_into_a_zone_that_is_not_there(scene: Scene) -> None:
    scene.register("a").refused(Key("host", "a"), AssignZone(zone="nowhere"), NotFound)
    scene.send(zone_key("z2"), CreateZone(name="z2")).send(zone_key("z2"), DeleteZone())
    scene.refused(Key("host", "a"), AssignZone(zone="z2"), NotFound)


def test_what_a_cell_does_not_know_is_an_error_and_no_refusal(scene: Scene) -> None:
    with pytest.raises(TypeError):
        scene.register("a").send(Key("host", "a"), StopInstance())
    for kind in ("host", "zone"):
        with pytest.raises(TypeError):
            AGGREGATES[kind].evolve(None, Event(), "x")
        with pytest.raises(TypeError):
            AGGREGATES[kind].evolve(None, HostEnabled(at=START), "x")


# Zones


def test_a_zone_in_use_is_not_deleted_and_says_by_whom(scene: Scene) -> None:
    for name in ("d", "c", "b", "a"):
        scene.register(name)
    told = scene.refused(zone_key("z1"), DeleteZone(), InUse)
    assert told == "Zone z1 is in use by 4 hosts: a, b, c and 1 more."


def test_a_zone_whose_last_host_has_left_is_deleted_and_another_has_its_name(scene: Scene) -> None:
    scene.register("a").send(zone_key("z2"), CreateZone(name="z2", description="new"))
    scene.send(Key("host", "a"), AssignZone(zone="z2")).send(zone_key("z1"), DeleteZone())
    assert scene.events() == [ZoneDeleted]
    scene.refused(zone_key("z1"), DeleteZone(), NotFound)
    heir = Key("zone", heir_of(zone_id("z1")))
    scene.send(heir, CreateZone(name="z1"))
    assert scene.states[zone_key("z1")].deleted is not None
    assert scene.send(Key("host", "a"), AssignZone(zone="z1")).host("a").zone == "z1"
    scene.send(Key("host", "a"), AssignZone(zone="z2")).send(heir, DeleteZone())
    scene.refused(Key("zone", heir_of(heir_of(heir.id))), CreateZone(name="z1"), AlreadyExists)
    made = scene.register("b", zone="z1").last.events[-1]
    assert made[0] == Key("zone", heir_of(heir.id)), "its first host makes the zone anew"


def test_a_zone_is_made_once(scene: Scene) -> None:
    scene.send(zone_key("z1"), CreateZone(name="z1")).refused(zone_key("z1"), CreateZone(name="z1"), AlreadyExists)
    scene.refused(zone_key("z2"), DeleteZone(), NotFound)


# Whatever happens


steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "place", "release", "disable", "enable"]), st.integers(0, 5), st.integers(1, 5)
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, database=None, print_blob=True)
@given(steps)
def test_whatever_happens_no_host_holds_more_than_it_has_and_no_instance_two_claims(
    story: list[tuple[str, int, int]],
) -> None:
    scene = Scene()
    for what, which, size in story:
        match what:
            case "register":
                scene.register(f"h{which % 3}", vcpus=6)
            case "place":
                scene.place(f"i{which}", vcpus=size)
            case "release":
                scene.release(f"i{which}")
            case _:
                if Key("host", f"h{which % 3}") in scene.states:
                    scene.send(Key("host", f"h{which % 3}"), DisableHost() if what == "disable" else EnableHost())
        hosts = [state for state in scene.states.values() if isinstance(state, Host)]
        assert all(each.used()["vcpus"] <= 6 for each in hosts)
        claimed = [instance for each in hosts for instance in each.claims]
        assert len(set(claimed)) == len(claimed)
        assert scene.cell.table.claimed_by == {instance: each.id for each in hosts for instance in each.claims}
        fresh = table(*(scene.cell.table.hosts[ident] for ident in scene.cell.table.ids))
        rows = slice(0, len(fresh))
        assert all((fresh.free[name][rows] == scene.cell.table.free[name][rows]).all() for name in fresh.free)
        for column in ("ready", "zone", "arch", "recent"):
            assert (getattr(fresh, column)[rows] == getattr(scene.cell.table, column)[rows]).all()
        other = table(*(scene.cell.table.hosts[ident] for ident in reversed(scene.cell.table.ids)))
        assert other.latest == scene.cell.table.latest
        wish = request("next", vcpus=1)
        assert choose(wish, other, DEFAULT) == choose(wish, scene.cell.table, DEFAULT), "whoever starts now chooses so"


def test_a_zone_keeps_its_name_and_is_described_anew(scene: Scene) -> None:
    scene.register("a").send(zone_key("z2"), CreateZone(name="z2", description="old"))
    assert scene.send(zone_key("z2"), UpdateZone(description="new")).events() == [ZoneUpdated]
    zone = scene.zone("z2")
    assert zone is not None
    assert (zone.name, zone.description, zone.updated > zone.created) == ("z2", "new", True)
    assert scene.send(zone_key("z2"), UpdateZone(description="new")).events() == []
    scene.refused(zone_key("z9"), UpdateZone(description="x"), NotFound)


def test_a_zone_has_a_name_that_may_be(scene: Scene) -> None:
    assert "slash" in scene.refused(zone_key("a/b"), CreateZone(name="a/b"), Invalid)
