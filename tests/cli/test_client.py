"""The client: tried again where that is safe, bounded always, and no secret shown."""

import json
from collections.abc import Callable

import httpx
import pytest

from cli.gs.client import ATTEMPTS, LONGEST_PAUSE, MASK, Client, Deadline, identity, masked
from cli.gs.problems import Missing, Refused, TimedOut, Unreachable, Usage
from tests.cli.conftest import Gs, Service, problem


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(service: Service, clock: Clock) -> Callable[..., Client]:
    def make(timeout: float | None = None) -> Client:
        deadline = Deadline.starting(timeout, lambda: clock.now)
        return Client("http://test", deadline, transport=httpx.MockTransport(service.handle), sleep=clock.sleep)

    return make


GONE = [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("gone")]


@pytest.mark.parametrize("error", GONE)
def test_a_write_is_tried_again_under_the_same_key(
    client: Callable[..., Client], service: Service, clock: Clock, error: Exception
) -> None:
    service.on("POST /v1/flavors", error, error, {"id": "1"})
    assert client().write("POST", "/flavors", {"name": "a"}).body == {"id": "1"}
    assert len({request.headers["Idempotency-Key"] for request in service.asked}) == 1
    assert len(service.asked) == 3
    assert clock.slept == [0.2, 0.4]


def test_each_write_has_a_key_of_its_own(client: Callable[..., Client], service: Service) -> None:
    service.on("POST /v1/flavors", {})
    made = client()
    made.write("POST", "/flavors", {})
    made.write("POST", "/flavors", {})
    assert len({request.headers["Idempotency-Key"] for request in service.asked}) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_service_is_asked_again_when_it_says(
    client: Callable[..., Client], service: Service, clock: Clock, status: int
) -> None:
    service.on("GET /v1/version", httpx.Response(status, headers={"Retry-After": "3"}), {"version": "1"})
    assert client().get("/version").body == {"version": "1"}
    assert clock.slept == [3.0]


def test_a_service_with_too_much_to_do_is_asked_the_same_again_and_the_user_is_told(
    client: Callable[..., Client], service: Service, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = problem("overloaded", 429, "Too much at once.")
    busy.headers["Retry-After"] = "7"
    service.on("POST /v1/flavors", busy, {})
    client().write("POST", "/flavors", {})
    assert len({request.headers["Idempotency-Key"] for request in service.asked}) == 1
    assert (len(service.asked), clock.slept) == (2, [7.0])
    assert capsys.readouterr().err == "The service is overloaded; trying again in 7 s\n"


def test_pauses_are_bounded(client: Callable[..., Client], service: Service, clock: Clock) -> None:
    service.on("GET /v1/version", httpx.Response(503, headers={"Retry-After": "86400"}))
    with pytest.raises(Unreachable):
        client().get("/version")
    assert clock.slept == [LONGEST_PAUSE] * (ATTEMPTS - 1)


@pytest.mark.parametrize("status", [400, 409, 412, 422, 500])
def test_a_refusal_is_not_tried_again(client: Callable[..., Client], service: Service, status: int) -> None:
    service.on("GET /v1/version", problem("in-use", status, "It is in use."))
    with pytest.raises(Refused, match="It is in use"):
        client().get("/version")
    assert len(service.asked) == 1


def test_nobody_there(client: Callable[..., Client], service: Service) -> None:
    service.on("GET /v1/version", httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="http://test could not be reached"):
        client().get("/version")
    assert len(service.asked) == ATTEMPTS


def test_the_deadline_bounds_attempts_and_their_timeouts(
    client: Callable[..., Client], service: Service, clock: Clock
) -> None:
    service.on("GET /v1/version", httpx.ConnectError("refused"))
    with pytest.raises(TimedOut):
        client(0.3).get("/version")
    assert sum(clock.slept) == pytest.approx(0.3, abs=0.01)
    assert service.asked[0].extensions["timeout"]["read"] == pytest.approx(0.3)


def test_a_piece_is_sent_once(client: Callable[..., Client], service: Service) -> None:
    service.on("PATCH /v1/images/i/file", httpx.WriteError("gone"), {"received": 3})
    with pytest.raises(Unreachable):
        client().piece("/images/i/file", {"offset": 0, "size": 3}, lambda: iter([b"ab", b"c"]), 3)
    assert client().piece("/images/i/file", {"offset": 0, "size": 3}, lambda: iter([b"ab", b"c"]), 3).get("received")
    assert [request.content for request in service.asked] == [b"abc", b"abc"]
    assert service.asked[1].headers["Content-Length"] == "3"


def test_an_error_that_is_no_problem_document(client: Callable[..., Client], service: Service) -> None:
    service.on("GET /v1/version", httpx.Response(404, text="<html>"))
    with pytest.raises(Missing, match="404 Not Found"):
        client().get("/version")


def test_fields_that_are_wrong_are_named_once(client: Callable[..., Client], service: Service) -> None:
    body = {"detail": "core: at least 1", "code": "invalid", "errors": [{"field": "core", "message": "at least 1"}]}
    service.on("GET /v1/version", body, body | {"detail": "Invalid."}, status=422)
    for expected in ("core: at least 1", "Invalid: core: at least 1"):
        with pytest.raises(Refused) as caught:
            client().get("/version")
        assert str(caught.value) == expected


@pytest.mark.parametrize("url", ["http://[", "ht tp://x", "nohost", "http://x:99999999", "http://a b", "ftp://x", ""])
def test_a_wrong_address_is_wrong_usage(url: str) -> None:
    with pytest.raises(Usage):
        Client(url, Deadline.starting(None))


def test_who_asks() -> None:
    said = identity({"GS_ACTOR": "ann", "GS_PROJECT": "shop", "GS_REASON": "né"})
    assert said == {"X-GoStack-Actor": "ann", "X-GoStack-Project": "shop"}
    assert identity({"GS_ACTOR": "a\r\nb"}) == {}


def test_secrets_are_masked() -> None:
    seen = masked({"password": "p", "instances": [{"admin_password": "q", "name": "a"}], "user_data": None})
    assert seen == {"password": MASK, "instances": [{"admin_password": MASK, "name": "a"}], "user_data": None}


def test_debug_shows_the_exchange_without_secrets(gs: Gs, service: Service) -> None:
    service.on("POST /v1/keypairs", {"id": "k", "name": "a", "private_key": "topsecret", "version": 1}, status=201)
    shown = gs("keypair", "create", "a", "--debug", "--json")
    assert "> POST http://127.0.0.1:7480/v1/keypairs" in shown.stderr
    assert "< 201 Created" in shown.stderr
    assert "idempotency-key" in shown.stderr
    assert "topsecret" not in shown.stderr
    assert json.loads(shown.stdout)["private_key"] == "topsecret"
