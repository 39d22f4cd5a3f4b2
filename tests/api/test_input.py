"""Values that the database, an encoder or a clock cannot take are refused, wherever a request has them."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message

from api.http.storable import GREATEST, LEAST, MOST_NESTED
from api.http.validation_errors import MOST_ERRORS
from tests.api.api import DESCRIBED, GAP, Api

HALF = "\ud800"
KEYED = {"Idempotency-Key": "once"}
JSON = {"Content-Type": "application/json"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, each in DESCRIBED["paths"].items():
        for method, operation in each.items():
            yield method, path, operation


def paths_with(gap: str) -> list[tuple[str, str, str]]:
    """Every operation with a part that its caller fills in: its method, its path with `gap` in the last such part, and
    the part's name."""
    found = []
    for method, path, _ in operations():
        gaps = GAP.findall(path)
        if gaps:
            filled = path.replace(gaps[-1], gap)
            found.append((method, GAP.sub("instance", filled), gaps[-1].strip("{}")))
    return found


def parameters(where: str) -> list[tuple[str, str, str]]:
    return [
        (method, GAP.sub("instance", path), each["name"])
        for method, path, operation in operations()
        for each in operation.get("parameters", ())
        if each["in"] == where
    ]


def bodies() -> list[tuple[str, str]]:
    return [
        (method, GAP.sub("instance", path))
        for method, path, operation in operations()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [each["field"] for each in answer.json()["errors"]]


async def test_no_path_has_a_nul(empty: Api) -> None:
    for method, path, name in paths_with("a%00b"):
        assert fields(await empty.http.request(method, path)) == [name], path


async def test_no_parameter_has_a_nul(empty: Api) -> None:
    for method, path, name in parameters("query"):
        assert fields(await empty.http.request(method, path, params={name: "a\x00b"})) == [name], path


async def test_no_header_has_a_nul(empty: Api) -> None:
    for method, path, name in parameters("header"):
        answer = await empty.http.request(method, path, headers={name: "a\x00b"})
        assert fields(answer) == [name.lower()], path


@pytest.mark.parametrize("headers", [{}, KEYED], ids=["plain", "keyed"])
async def test_no_body_has_what_cannot_be_stored(empty: Api, headers: dict[str, str]) -> None:
    content = (
        '{"a": "x\\u0000", "b": [{"c": "\\ud800"}], "d\\udc00": 1, "e": 9223372036854775808, "f": -9223372036854775809,'
        f' "g": 1e999, "h": NaN, "i": {"[" * MOST_NESTED}{"]" * MOST_NESTED}, "j": 9223372036854775807, "k": "ä😀"}}'
    )
    nested = ".".join(["i", *["0"] * (MOST_NESTED - 1)])
    for method, path in bodies():
        answer = await empty.http.request(method, path, content=content, headers={**JSON, **headers})
        assert fields(answer) == ["a", "b.0.c", "d\\udc00", "e", "f", "g", "h", nested], path
        messages = {each["field"]: each["message"] for each in answer.json()["errors"]}
        assert messages["e"] == f"integers from {LEAST} to {GREATEST} are allowed (64 bits)"


@pytest.mark.parametrize("headers", [{}, KEYED], ids=["plain", "keyed"])
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'\xef\xbb\xbf{"name": "z"}', 400),
        ('{"name": "z"}'.encode("utf-16"), 400),
        ('{"name": "z"}'.encode("utf-16-le"), 400),
        (b'{"name": ', 400),
        (b"1" * 5000, 400),
        (b"[" * 500 + b"]" * 500, 422),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"name": ' + b"1" * 400 + b"}", 422),
        (b'"\\ud800"', 422),
        (b"NaN", 422),
        (b"{}", 422),
    ],
)
async def test_bodies_at_the_edge_of_json(empty: Api, content: bytes, status: int, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/zones"), ("POST", "/v1/instances"), ("PATCH", "/v1/flavors/x")):
        answer = await empty.http.request(method, path, content=content, headers={**JSON, **headers})
        expected = 404 if (path, content) == ("/v1/flavors/x", b"{}") else status
        assert answer.status_code == expected, answer.text


@pytest.mark.parametrize("headers", [{}, KEYED], ids=["plain", "keyed"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_does_not_say_that_it_is_json(empty: Api, kind: str, headers: dict[str, str]) -> None:
    headers = {**headers, **({"Content-Type": kind} if kind else {})}
    answer = await empty.http.post("/v1/zones", content=b'{"name": "z"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "application/json" in answer.json()["detail"]
    # Where no body is read, none is looked at.
    answer = await empty.http.request("DELETE", "/v1/zones/none", content=b"a=b", headers=headers)
    assert answer.json()["code"] == "not-found"


async def test_a_boot_that_cannot_be_encoded_keeps_no_secret(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    body = {
        "name": "web",
        "flavor": "small",
        "image": "tiny",
        "password": "S3cret-password",
        "user_data": "S3cret-data",
    }
    for field, value in (
        ("description", HALF),
        ("name", f"a{HALF}"),
        ("metadata", {"k": HALF}),
        ("metadata", {HALF: ""}),
    ):
        content = json.dumps({**body, field: value})
        for headers in (JSON, JSON | KEYED):
            answer = await api.http.post("/v1/instances", content=content, headers=headers)
            assert fields(answer)[0].startswith(field)
    assert await api.world.secrets.held(api.world.clock(), 10) == []
    assert "S3cret" not in caplog.text


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00:00Z", "0001-01-01", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "100000000d"]
)
async def test_times_that_the_clock_of_the_log_does_not_have(api: Api, since: str) -> None:
    hook = await api.post("/webhooks", {"name": "h", "url": "http://127.0.0.1:1/"})
    for path, name in (
        ("/events", "since"),
        ("/events", "until"),
        ("/events/stream", "since"),
        ("/events/stream", "until"),
        ("/instances", "at"),
        ("/flavors/small", "at"),
        ("/flavors/small/diff", "from"),
        ("/events/export", "until"),
    ):
        more = {"instance": "x"} if path == "/events/export" else {}
        told = await api.get(path, 422, **{name: since}, **more)
        assert told["values"]["field"] == name
    for path in (f"/webhooks/{hook['id']}/retry", "/webhooks", "/scheduler/simulate"):
        body = {"since": since} if path.startswith("/webhooks") else {"from": since}
        if path == "/webhooks":
            body |= {"name": "other", "url": "http://127.0.0.1:1/"}
        await api.post(path, body, 422)
    assert (await api.get("/events", since="1970-01-01T00:00:00Z"))["events"]


@pytest.mark.parametrize("dates", ["999999999999,", ",999999999999", "999999999999,1"])
@pytest.mark.parametrize("name", ["create_date", "update_date"])
async def test_dates_that_no_clock_has(empty: Api, name: str, dates: str) -> None:
    assert (await empty.get("/instances", 422, **{name: dates}))["values"]["field"] == name


async def test_only_the_first_of_very_many_errors_are_told(empty: Api) -> None:
    body = {"name": "z", **{f"unknown-{number}": 0 for number in range(1000)}}
    told = await empty.post("/zones", body, 422)
    assert len(told["errors"]) == MOST_ERRORS
    assert told["detail"].endswith("; and 980 errors more")
    assert told["values"] == {"more_errors": "980"}
    told = await empty.post("/zones", {"name": "z", "x" * 100_000: "y" * 100_000}, 422)
    assert len(str(told)) < 1000


async def test_a_field_may_be_called_as_a_part_of_a_request(empty: Api) -> None:
    told = await empty.post("/zones", {"name": "z", "body": {"path": 1}, "query": 1}, 422)
    assert [each["field"] for each in told["errors"]] == ["body", "query"]


@pytest.mark.parametrize("value", ["nan", "inf", 1e300])
async def test_a_weight_is_a_number_to_reckon_with(empty: Api, value: Any) -> None:
    body = {"from": "1h", "policy": {"weights": {"free-memory": value}}}
    assert (await empty.post("/scheduler/simulate", body, 422))["errors"][0]["field"] == "policy.weights.free-memory"


async def test_a_client_that_hangs_up_during_an_upload_is_no_incident(
    empty: Api, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"x" * 1000, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    image = await empty.post("/images", {"name": "half"})
    path = f"/v1/images/{image['id']}/file"
    scope = {
        "type": "http",
        "method": "PATCH",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"offset=0&size=5000",
        "headers": [(b"host", b"127.0.0.1")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    with caplog.at_level(logging.WARNING):
        await empty.app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert caplog.records == []
    assert empty.stored() == {}


def test_every_number_in_a_request_has_limits_that_the_description_says() -> None:
    shapes = DESCRIBED["components"]["schemas"]
    unlimited = []

    def look(shape: dict[str, Any], where: str, above: frozenset[str] = frozenset()) -> None:
        if name := shape.get("$ref", "").rpartition("/")[2]:
            if name not in above:
                look(shapes[name], where, above | {name})
            return
        if shape.get("type") in ("integer", "number") and not (_least(shape) and _greatest(shape)):
            unlimited.append(where)
        for each in (*shape.get("anyOf", ()), *shape.get("allOf", ()), *shape.get("oneOf", ())):
            look(each, where, above)
        for field, each in shape.get("properties", {}).items():
            look(each, f"{where}.{field}", above)
        for each in (shape.get("items"), shape.get("additionalProperties")):
            if isinstance(each, dict):
                look(each, f"{where}[]", above)

    for method, path, operation in operations():
        for each in operation.get("parameters", ()):
            look(each["schema"], f"{method} {path} {each['name']}")
        for content in operation.get("requestBody", {}).get("content", {}).values():
            look(content["schema"], f"{method} {path} body")
    assert unlimited == []


def _least(shape: dict[str, Any]) -> bool:
    return "minimum" in shape or "exclusiveMinimum" in shape


def _greatest(shape: dict[str, Any]) -> bool:
    return "maximum" in shape or "exclusiveMaximum" in shape


async def test_a_request_without_a_body_is_refused_where_a_field_is_needed(empty: Api) -> None:
    for method, path, operation in operations():
        if operation.get("requestBody", {}).get("required") and "uploads" not in path:
            answer = await empty.http.request(method, GAP.sub("instance", path))
            assert fields(answer), path
        elif "/actions/" in path:
            answer = await empty.http.request(method, GAP.sub("instance", path))
            assert answer.json()["code"] == "not-found", path


async def test_every_example_of_a_body_is_taken(empty: Api) -> None:
    for method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for body in content.get("schema", {}).get("examples", ()):
            answer = await empty.http.request(method, GAP.sub("instance", path), json=body)
            assert "errors" not in answer.json(), (path, answer.text)
