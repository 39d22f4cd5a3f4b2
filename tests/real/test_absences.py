"""A server is away for a minute under load, or a process's clock is an hour wrong: meanwhile users are told so, and
afterwards everything that was accepted is done, and all adds up."""

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.server import Server
from infra.process.clock import VARIABLE as CLOCK
from tests.real.cluster import Cluster, running
from tests.real.test_crashes import instances, prepare

pytestmark = pytest.mark.real

AWAY = 60.0
"""Seconds for which a server is away."""
HOUR = 3600
WRONG = 4.0
"""Seconds for which a clock is an hour wrong."""
AT_ONCE = 4
SLOWEST = 15.0
"""Seconds in which every request is answered, whatever is away."""
PAUSE = 0.5
ALLOWED = {200, 202, 429, 503, 504}
SETTINGS = {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(6, SETTINGS) as found:
        prepare(found)
        yield found


class Users:
    """Some who boot, each the same until it is accepted, and one who reads."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._over = threading.Event()
        self.answers: Counter[int] = Counter()
        self.slowest = 0.0
        self.wrong: list[str] = []
        self.booted: dict[str, str] = {}
        """Command -> instance."""

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._boot, args=(number,)) for number in range(AT_ONCE)]
        threads.append(threading.Thread(target=self._read))
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._over.set()
            for each in threads:
                each.join()

    def _ask(self, api: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response | None:
        """One request, looked at; None where there was no answer, which is wrong."""
        began = time.monotonic()
        try:
            answer = api.request(method, path, **more)
        except httpx.HTTPError as error:
            self.wrong.append(f"{method} {path}: {error!r} after {time.monotonic() - began:.1f} s")
            return None
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[answer.status_code] += 1
        if answer.status_code not in ALLOWED:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
        elif answer.status_code == 503 and not (answer.json()["code"] == "unavailable" and answer.json()["detail"]):
            self.wrong.append(f"{method} {path}: {answer.text}")
        return answer

    def _read(self) -> None:
        with httpx.Client(base_url=self._url, timeout=SLOWEST * 2) as api:
            while not self._over.is_set():
                for path in ("/v1/instances?limit=20", "/v1/hosts", "/v1/tasks?limit=5"):
                    self._ask(api, "GET", path)
                self._over.wait(PAUSE)

    def _boot(self, user: int) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=SLOWEST * 2) as api:
            while not self._over.is_set():
                number += 1
                body = {"name": f"{self._name}-{user}-{number}", "flavor": "small", "image": "tiny", "network": "lan"}
                key = str(uuid.uuid4())
                until = time.monotonic() + AWAY * 3
                while time.monotonic() < until:
                    answer = self._ask(api, "POST", "/v1/instances", json=body, headers={"Idempotency-Key": key})
                    if answer is not None and answer.status_code == 202:
                        self.booted[answer.json()["command_id"]] = answer.json()["id"]
                        break
                    time.sleep(PAUSE)
                else:
                    self.wrong.append(f"{body['name']} was never accepted")
                self._over.wait(PAUSE)


def through(cluster: Cluster, name: str, happens: Callable[[], None]) -> Users:
    """Let this happen under load; afterwards everything that was accepted is done."""
    users = Users(cluster.url, name)
    with users.at_work():
        cluster.wait("users are at work", lambda: len(users.booted) >= AT_ONCE)
        before = len(users.booted)
        happens()
        cluster.wait("users boot again", lambda: len(users.booted) >= before + 2 * AT_ONCE, 120)
    assert users.wrong == [], "\n".join(users.wrong[:10]) + cluster.last_words()
    assert users.slowest < SLOWEST

    def ended() -> bool:
        found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
        return all(found.get(ident) == "active" for ident in users.booted.values())

    cluster.wait("all that was accepted is active", ended, 120)
    with httpx.Client(base_url=cluster.url, timeout=10) as api:
        for command_id in users.booted:
            assert api.get(f"/v1/commands/{command_id}").json()["verdict"] == "accepted"
        gone = [api.delete(f"/v1/instances/{ident}", params={"hard": True}) for ident in users.booted.values()]
        assert {each.status_code for each in gone} == {202}
    cluster.check()
    print(name, dict(users.answers), f"{users.slowest:.1f} s", len(users.booted))
    return users


def away(server: Server, seconds: float) -> None:
    """It is stopped, and started again so many seconds later."""
    until = time.monotonic() + seconds
    server.stop()
    time.sleep(max(0.0, until - time.monotonic()))
    server.start()


def test_the_broker_is_away_for_a_minute(cluster: Cluster) -> None:
    users = through(cluster, "no-log", lambda: away(cluster.kafka, AWAY))
    assert users.answers[503] > 0


def test_the_database_is_away_for_a_minute(cluster: Cluster) -> None:
    users = through(cluster, "no-db", lambda: away(cluster.postgres, AWAY))
    assert users.answers[503] > 0


def test_clocks_jump_by_an_hour_and_back(cluster: Cluster, tmp_path: Path) -> None:
    clocks = {name: tmp_path / name for name in ("engine", "timers")}
    for name, clock in clocks.items():
        clock.write_text("0")
        process = cluster.processes[name]
        starts = process.starts
        process.environment = {**process.environment, CLOCK: str(clock)}
        process.kill()
        cluster.wait(f"{name} is started again", lambda process=process, starts=starts: process.starts > starts)

    def jump() -> None:
        for clock in clocks.values():
            for ahead in (HOUR, 0, -HOUR, 0):
                # Put in place whole: it is read at any moment.
                fresh = tmp_path / "fresh"
                fresh.write_text(str(ahead))
                fresh.rename(clock)
                time.sleep(WRONG)

    users = through(cluster, "clocks", jump)
    failed = httpx.get(f"{cluster.url}/v1/tasks", params={"status": "failed"}, timeout=10).json()["tasks"]
    assert failed == []
    assert users.answers[202] == len(users.booted)
