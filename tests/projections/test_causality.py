"""Every event of a chain but the first follows another that is in it, and what it says is true of the present."""

from collections import Counter

import orjson
import pytest

from domain.core.messages import MESSAGES, Event, Record
from domain.host.messages import HostClaimMade, HostClaimReleased, HostClaimResized, HostEvent
from domain.network.messages import (
    HostAddressGiven,
    HostAddressReturned,
    NetworkEvent,
    PortBoundToInstance,
    PortCreated,
    PortDeleted,
    PortFreed,
    PortPrepared,
    PortUnprepared,
    PortUpdated,
)
from projections.history import causality as chains
from projections.history.causality import LASTING, explain
from projections.store.memory import MemoryStore
from projections.store.port import HistoryQuery
from tests.projections.test_projector import ALL, instance_key, project, story

assert story  # the fixture of the story that the projector's tests tell


@pytest.fixture
async def store(story: list[Record]) -> MemoryStore:
    made = MemoryStore()
    await project(made, story)
    return made


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_chain_ends_at_the_present_and_every_step_follows_one(number: int, store: MemoryStore) -> None:
    key = instance_key(number)
    chain = await explain(store, key)
    ids = {step.entry.id for step in chain.steps}
    requests = {step.entry.correlation for step in chain.steps}
    assert not chain.cut
    own = [each for each in await store.history(HistoryQuery(subject=str(key), limit=ALL)) if each.version]
    assert [step.entry for step in chain.steps if step.entry.subject == key and step.entry.version][-1] == own[-1]
    begun = [step for step in chain.steps if not step.after]
    assert all(step.entry.causation in requests for step in begun), [step.says for step in begun]
    assert all(step.after in ids for step in chain.steps if step.after)
    assert all(step.says.endswith((".", "luck")) or ";" in step.says for step in chain.steps)


async def test_a_failed_boot_tells_of_scheduler_network_and_undo(store: MemoryStore) -> None:
    chain = await explain(store, instance_key(3))
    kinds = Counter(step.entry.subject.kind for step in chain.steps)
    assert kinds.keys() == {"instance", "host", "network"}
    says = [step.says for step in chain.steps]
    assert any("StartGuest failed: out of luck" in each for each in says)
    assert any("The scheduler chose this host" in each for each in says)
    assert says[-1].startswith("boot failed")
    for step in chain.steps:
        if step.entry.subject.kind == "host":
            assert orjson.loads(step.entry.data)["instance_id"] == instance_key(3).id


async def test_a_claim_follows_the_step_that_asked_for_it(store: MemoryStore) -> None:
    chain = await explain(store, instance_key(3))
    says = {step.entry.id: step.says for step in chain.steps}
    claim = next(step for step in chain.steps if "chose this host" in step.says)
    assert says[claim.after].startswith("Place was sent out")
    bound = next(step for step in chain.steps if "bound the port" in step.says)
    assert says[bound.after].startswith("BindPort was sent out")


@pytest.mark.parametrize(("kind", "abstract"), [("host", HostEvent), ("network", NetworkEvent)])
def test_every_event_says_what_a_thing_is_or_what_instances_hold_there(kind: str, abstract: type[Event]) -> None:
    every = {each for each in MESSAGES.values() if issubclass(each, abstract)}
    held = {
        HostClaimMade,
        HostClaimReleased,
        HostClaimResized,
        PortCreated,
        PortBoundToInstance,
        PortFreed,
        PortPrepared,
        PortUnprepared,
        PortUpdated,
        PortDeleted,
        HostAddressGiven,
        HostAddressReturned,
        PortPrepared,
        PortUnprepared,
    }
    assert every - held == set(LASTING[kind])


async def test_only_the_newest_are_told_of_many(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await explain(store, instance_key(3))
    monkeypatch.setattr(chains, "MOST_STEPS", 5)
    chain = await explain(store, instance_key(3))
    assert chain.cut
    assert chain.steps[-1] == whole.steps[-1]
    assert len(chain.steps) == 5
