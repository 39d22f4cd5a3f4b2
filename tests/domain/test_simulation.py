"""Another policy on the past: by one's own, all is as it was; by another, hosts and refusals follow from it alone."""

import pickle
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.core.errors import Invalid, Refusal
from domain.core.messages import Key
from domain.host.messages import DisableHost, EnableHost, HearHost, HostClaimMade, Inventory, RegisterHost, SuspectHost
from domain.scheduling.custom_policy import wished
from domain.scheduling.filters import FILTERS
from domain.scheduling.policy import BEST, DEFAULT, Policy
from domain.scheduling.replay import SchedulerFact, SchedulerPast
from domain.scheduling.scores import Look, scored
from domain.scheduling.simulation import Question, Simulated, Size, simulate
from domain.scheduling.table import Ratios
from domain.scheduling.weighers import FREE_MEMORY, WEIGHERS
from tests.domain.test_scheduling import GIB, PLAIN, START, Scene

END = START + timedelta(days=1)
PACKING = Policy(DEFAULT.filters, ((FREE_MEMORY, -1.0),))


class Story(Scene):
    """A scene that keeps what was decided."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[SchedulerFact] = []

    def send(self, subject: Key, message: Any) -> "Story":
        super().send(subject, message)
        versions = {fact.subject: fact.version for fact in self.facts}
        for key, event in [*self.last.events, *self.last.notices]:
            if key.kind in ("host", "instance"):
                version = versions.get(key, 0) + 1 if key.kind == "host" else 0
                ident, time = f"{self.number}", START + timedelta(seconds=self.number)
                place = ("gostack.events", 0, len(self.facts))
                self.facts.append(SchedulerFact(ident, key, version, time, (0, self.number), place, event))
        return self


def ask(facts: Iterable[SchedulerFact], **changes: Any) -> Simulated:
    whole: dict[str, Any] = {
        "policy": DEFAULT,
        "ratios": PLAIN,
        "own": DEFAULT,
        "own_ratios": PLAIN,
        "since": START,
        "until": END,
        "most": 1000,
    }
    return simulate(SchedulerPast({}, list(facts)), Question(**whole | changes))


def three_placed() -> Story:
    """One instance each on two equal hosts, and a third on the first."""
    story = Story()
    story.register("a").register("b")
    for number in range(3):
        story.place(f"i{number}")
    return story


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["register", "place", "place", "place", "resize", "release", "disable", "enable", "suspect", "hear"]
        ),
        st.integers(0, 7),
        st.integers(1, 5),
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(steps, st.integers(0, 60))
def test_by_ones_own_policy_all_is_as_it_was(script: list[tuple[str, int, int]], cut: int) -> None:
    story = Story()
    hosts = {"disable": DisableHost, "enable": EnableHost, "suspect": SuspectHost, "hear": HearHost}
    for what, which, size in script:
        match what:
            case "register":
                inventory = Inventory(vcpus=4 + which, memory=32 * GIB, disk=100 * GIB)
                story.send(Key("host", f"h{which % 4}"), RegisterHost(name=f"h{which}", zone="z", inventory=inventory))
            case "place":
                story.place(f"i{which}", vcpus=size)
            case "resize":
                try:
                    story.resize(f"i{which}", vcpus=size, memory=size * GIB, disk=GIB)
                except Refusal:
                    continue
            case "release":
                story.release(f"i{which}")
            case _:
                if Key("host", f"h{which % 4}") in story.states:
                    story.send(Key("host", f"h{which % 4}"), hosts[what]())
    found = ask(story.facts, since=START + timedelta(seconds=cut))
    assert [each.was for each in found.decided] == [each.would for each in found.decided]
    assert (found.unlike, found.unknown, found.moves) == ({}, 0, ())
    assert found.was == found.would
    placed = [fact for fact in story.facts if hasattr(fact.event, "report") and fact.time >= START + timedelta(0, cut)]
    assert [each.place for each in found.decided] == [fact.place for fact in placed]
    held = {each.id: each.was["instances"] for each in found.hosts}
    assert held == {key.id: len(state.claims) for key, state in story.states.items() if key.kind == "host"}


def test_another_policy_packs_what_its_own_choices_left() -> None:
    found = ask(three_placed().facts, policy=PACKING, sizes=(Size("s", 1, GIB), Size("l", 8, 30 * GIB)))
    assert [(each.was, each.would) for each in found.decided] == [("a", "a"), ("b", "a"), ("a", "a")]
    assert found.decided[1].why == "a scores 0, b -1"
    assert found.moves == (("b", "a", 1),)
    assert (found.was.hosts_used, found.would.hosts_used) == (2, 1)
    assert (found.was.largest, found.would.largest) == ("s", "l"), "a whole host is left"
    assert found.was.used == found.would.used == {"vcpus": 6, "memory": 12 * GIB, "disk": 30 * GIB}
    assert found.was.total == {"vcpus": 16, "memory": 64 * GIB, "disk": 200 * GIB}
    by_host = {each.name: (each.was["instances"], each.would["instances"]) for each in found.hosts}
    assert by_host == {"a": (2, 3), "b": (1, 0)}
    assert found.unlike == {}


def test_what_was_refused_may_find_a_host_and_stays_there() -> None:
    story = Story()
    story.register("a").place("i1", vcpus=8).place("i2", vcpus=8).place("i3", vcpus=8)
    found = ask(story.facts, ratios=Ratios(vcpus=2.0))
    assert [(each.was, each.would) for each in found.decided] == [("a", "a"), ("", "a"), ("", "")]
    assert found.decided[1].why == "a would do; it was refused: No valid host: of 1 hosts, 1 short of vCPUs."
    assert (found.was.refused, found.would.refused) == ({"vcpu": 2}, {"vcpu": 1})
    story.release("i1")
    assert ask(story.facts, ratios=Ratios(vcpus=2.0)).would.used["vcpus"] == 8


def test_what_was_placed_may_be_refused_and_says_by_what() -> None:
    found = ask(three_placed().facts, ratios=Ratios(vcpus=0.25))
    assert [each.would for each in found.decided] == ["a", "b", ""]
    assert found.decided[2].why == "No valid host: of 2 hosts, 2 short of vCPUs."
    assert found.would.refused == {"vcpu": 1}


def test_a_host_that_would_have_been_full_is_told() -> None:
    story = Story()
    story.register("a").register("b", memory=30 * GIB).place("i1", memory=20 * GIB).place("i2", memory=12 * GIB)
    story.place("i3", memory=12 * GIB)
    found = ask(story.facts, policy=PACKING)
    assert [(each.was, each.would) for each in found.decided] == [("a", "b"), ("b", "a"), ("b", "a")]
    assert found.decided[1].why == "b would be short of memory"


def test_hosts_fail_and_come_back_as_they_did() -> None:
    story = three_placed()
    story.send(Key("host", "a"), SuspectHost())
    story.place("i4")
    story.send(Key("host", "a"), HearHost())
    story.send(Key("host", "b"), DisableHost())
    story.place("i5")
    found = ask(story.facts, policy=PACKING)
    assert [each.would for each in found.decided[3:]] == ["b", "a"]


def test_of_a_window_only_its_requests_are_decided_and_the_rest_was_as_it_was() -> None:
    found = ask(three_placed().facts, policy=PACKING, since=START + timedelta(seconds=4))
    assert [(each.was, each.would) for each in found.decided] == [("b", "a"), ("a", "a")]
    nothing = ask(three_placed().facts, since=START + timedelta(hours=1))
    assert (nothing.decided, nothing.was.hosts_used, nothing.next) == ((), 2, None)


def test_so_many_are_decided_and_it_says_where_to_go_on() -> None:
    facts = three_placed().facts
    first = ask(facts, most=2)
    assert (len(first.decided), first.next) == (2, facts[-1].time)
    assert first.was.used["vcpus"] == 4, "totals are those of the moment that was reached"
    second = ask(facts, since=first.next, most=2)
    assert ([each.place for each in second.decided], second.next) == ([facts[-1].place], None)
    assert ask(facts, until=facts[-1].time).next is None


def test_when_it_took_long_enough_it_ends_after_one_at_least() -> None:
    story = three_placed()
    question = Question(DEFAULT, PLAIN, DEFAULT, PLAIN, START, END, 1000)
    found = simulate(SchedulerPast({}, story.facts), question, lambda: True)
    assert (len(found.decided), found.next) == (1, story.facts[3].time)


def first_release(facts: Iterable[SchedulerFact]) -> list[SchedulerFact]:
    """As they are read where an earlier release wrote them."""
    unknown: dict[str, Any] = {"arch": "", "zone": "", "wanted_host": ""}
    found = []
    for fact in facts:
        if "number" in type(fact.event).model_fields:
            fact = replace(fact, event=fact.event.but(number=0, **unknown))
        elif "report" in type(fact.event).model_fields:
            nothing = {"vcpus": 0, "memory": 0, "disk": 0, **unknown}
            fact = replace(fact, event=fact.event.but(**nothing))
        found.append(fact)
    return found


def test_what_an_earlier_release_decided_is_told_apart() -> None:
    story = three_placed()
    story.place("i4", zone="elsewhere")
    found = ask(first_release(story.facts))
    assert (len(found.decided), found.unknown) == (3, 1)
    assert set(found.unlike) <= {"an earlier release decided it, and did not tell what was asked for"}


@pytest.mark.parametrize(
    ("own", "ratios", "why"),
    [
        (Policy(DEFAULT.filters[:-1], DEFAULT.weighers), PLAIN, "other filters were in force"),
        (DEFAULT, Ratios(vcpus=0.25), "vcpu left 2 hosts, and leaves 0: other ratios were in force"),
        (Policy(DEFAULT.filters, ()), PLAIN, "other weights were in force"),
    ],
)
def test_a_past_that_is_not_understood_says_why(own: Policy, ratios: Ratios, why: str) -> None:
    found = ask(three_placed().facts, own=own, own_ratios=ratios)
    assert found.unlike
    assert all(why in each or "vcpu left" in each for each in found.unlike)


def test_a_question_and_its_answer_go_to_another_process_and_back() -> None:
    question = Question(DEFAULT, PLAIN, PACKING, PLAIN, START, END, 1000, (Size("s", 1, GIB),))
    assert pickle.loads(pickle.dumps(question)) == question
    found = ask(three_placed().facts, policy=PACKING, own_ratios=Ratios(vcpus=0.25))
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_policy_is_named_by_parts() -> None:
    assert wished(None, None) == DEFAULT
    found = wished(["vcpu", "zone"], {"free-memory": -2.0})
    assert found == Policy((FILTERS["vcpu"], FILTERS["zone"]), ((FREE_MEMORY, -2.0),))
    assert wished([], {}) == Policy((), ())


@pytest.mark.parametrize(
    ("filters", "weights", "field", "allowed"),
    [
        (["vcpu", "vcpus"], None, "policy.filters.1", "zone, wanted-host"),
        (["vcpu", "vcpu"], None, "policy.filters.1", "once"),
        (None, {"free-disk": 1.0}, "policy.weights", ", ".join(WEIGHERS)),
        (None, {"free-vcpu": 1e9}, "policy.weights.free-vcpu", "from -1e+06 to 1e+06"),
        (None, {"free-vcpu": float("nan")}, "policy.weights.free-vcpu", "from -1e+06"),
    ],
)
def test_a_policy_that_cannot_be_meant_says_where(
    filters: list[str] | None, weights: dict[str, float] | None, field: str, allowed: str
) -> None:
    with pytest.raises(Invalid) as caught:
        wished(filters, weights)
    assert caught.value.values["field"] == field
    assert allowed in str(caught.value)


def test_scores_of_a_placement_are_those_that_it_was_decided_by() -> None:
    story = three_placed()
    story.send(Key("host", "b"), DisableHost())
    story.place("i4")
    for fact in story.facts:
        event = fact.event
        found = scored(SchedulerPast({}, story.facts), Look(fact.id, fact.time, DEFAULT, PLAIN))
        if not isinstance(event, HostClaimMade):
            assert found is None
            continue
        assert found is not None
        assert found.differs == ""
        left = [each for each in found.hosts if each.score is not None]
        assert [(each.name, each.score) for each in left[:BEST]] == [(e.host, e.score) for e in event.report.best]
        assert len(left) == event.report.counts[-1].left
    assert found is not None
    assert (found.hosts[-1].name, found.hosts[-1].left_out_by) == ("b", "enabled-and-up")
    other = scored(SchedulerPast({}, story.facts), Look(story.facts[-1].id, END, DEFAULT, Ratios(vcpus=0.5)))
    assert other is not None
    assert "other ratios" in other.differs
