"""`python -m tests.simulation`: live through many histories, or through one again."""

import argparse
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.history import End, run, script

SEEDS_AT_ONCE = 20


def main() -> int:
    """The status is 1 where a history did not end as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--histories", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, help="only this one, with its script")
    asked = parser.parse_args()
    logging.disable()
    if asked.seed is not None:
        for action in script(asked.seed):
            print(action)
        end = run(script(asked.seed), asked.seed)
        print(*end.trace, *end.problems, sep="\n")
        print(f"{end.events} events in {end.seconds:.0f} simulated seconds, mark {end.mark}")
        return 1 if end.problems else 0
    began, events, failed = time.monotonic(), 0, 0
    seeds = range(asked.first, asked.first + asked.histories)
    with ProcessPoolExecutor(initializer=logging.disable) as pool:
        for seed, end in zip(seeds, pool.map(live, seeds, chunksize=SEEDS_AT_ONCE), strict=True):
            events += end.events
            if end.problems:
                failed += 1
                print(f"seed {seed}: {end.problems[0]}", flush=True)
    seconds = time.monotonic() - began
    print(
        f"{asked.histories} histories, {failed} failed, {events} events, "
        f"{asked.histories / seconds * 60:.0f} histories a minute"
    )
    return 1 if failed else 0


def live(seed: int) -> End:
    """Through the history that the seed makes."""
    return run(script(seed), seed)


if __name__ == "__main__":
    sys.exit(main())
