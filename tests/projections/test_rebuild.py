"""How a rebuild is divided among processes; that it is whole is tried on real servers (tests/real/test_rebuild.py)."""

from infra.log.log import TopicPartition
from projections.maintenance.rebuild import balanced_shares


def test_processes_have_about_as_many_events_each_and_every_partition_once() -> None:
    large = {TopicPartition("events", number): 1000 for number in (0, 2, 4)}
    small = {TopicPartition("events", number): 10 for number in (1, 3, 5)}
    ends = {**large, **small, TopicPartition("dead", 0): 0}
    shares = balanced_shares(ends, 2)
    assert sorted(sum(share.values()) for share in shares) == [1030, 2000]
    assert {each: end for share in shares for each, end in share.items()} == ends
    assert sum(map(len, shares)) == len(ends)
    assert balanced_shares({}, 2) == [{}, {}]
