"""What exceptions may say: where something was refused and why, and never what was given."""

import subprocess
from typing import Any

import aiohttp
import libvirt
import psycopg
import pytest
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, ValidationError
from yarl import URL

from domain.core.errors import UnknownMessage
from domain.core.messages import Model, Record, from_record
from infra.process.error_text import masked, named, text_of, traceback_of
from infra.process.settings import Settings

SECRET = "S3cret-Of-The-Guest"
TOKEN = "0123456789abcdef0123456789abcdef"


class Wish(BaseModel):
    """Somebody else's model: it repeats what it was given."""

    flavor: str
    password: int


def raised(work: Any) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def answered() -> Exception:
    """What aiohttp makes of an answer that is an error, to a request that had a token."""
    url = URL(f"http://agent:{SECRET}@api.example:7481/internal/v1/secrets/ref")
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {TOKEN}"}))
    about = aiohttp.RequestInfo(url, "GET", headers, url)
    return aiohttp.ClientResponseError(about, (), status=500, message="Internal Server Error")


def violated(state: str) -> psycopg.Error:
    """What a server says of a row that it does not take, with the values of the row."""

    class Told:
        sqlstate = state
        schema_name, table_name, column_name, constraint_name = "gostack", "secrets", None, "secrets_pkey"

    class Refused(psycopg.IntegrityError):
        @property
        def diag(self) -> Any:
            return Told()

    return Refused(f"duplicate key\nDETAIL:  Key (id)=({SECRET}) already exists.")


def refused_xml() -> Any:
    error: Any = libvirt.libvirtError("")
    error.err = (35, 20, f"(domain_definition):3: mismatch\n<description>{SECRET}</x>\n-----^", 1, "", "", "", 0, 0)
    error.args = (error.err[2],)
    return error


def reads(url: str) -> Exception:
    return raised(lambda: psycopg.conninfo.conninfo_to_dict(url))


GIVEN = {"type": "missing", "loc": ("body", "flavor"), "msg": "Field required", "input": {"password": SECRET}}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RequestValidationError([GIVEN]), "was refused: body.flavor: missing"),
        (ResponseValidationError([GIVEN], body={"password": SECRET}), "was refused: body.flavor: missing"),
        (
            raised(lambda: Wish.model_validate({"password": SECRET})),
            "Wish was refused: flavor: missing; password: int_parsing",
        ),
        (answered(), "500, message='Internal Server Error'"),
        (subprocess.CalledProcessError(1, ["psql", SECRET]), "psql ended with 1"),
        (subprocess.TimeoutExpired(f"psql {SECRET}", 3), "psql took longer than 3 s"),
        (violated("23505"), "SQLSTATE 23505 gostack.secrets.secrets_pkey"),
        (violated("22P02"), "SQLSTATE 22P02 gostack.secrets.secrets_pkey"),
        (reads(f"postgresql://gostack:{SECRET}%zz@db.example/gostack"), "percent-encoded"),
        (reads(f"host=db.example {SECRET}"), "connection"),
        (refused_xml(), "(domain_definition):3: mismatch"),
        (ValueError(f"http://user:{SECRET}@store.example/x does not answer"), "http://***@store.example/x"),
    ],
)
def test_what_was_given_is_not_told(error: Exception, says: str) -> None:
    told = [text_of(error), named(error), *traceback_of(error)]
    assert says in told[0]
    for each in told:
        assert SECRET not in each
        assert TOKEN not in each


def test_other_texts_stay_as_they_are() -> None:
    assert text_of(ValueError("the log has 3 partitions: basic, bearer")) == "the log has 3 partitions: basic, bearer"
    assert named(KeyError("x")) == "KeyError: 'x'"
    assert named(TimeoutError()) == "TimeoutError"
    refused = violated("57014")
    assert text_of(refused).startswith("duplicate key")


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"authorization: basic {TOKEN}=",
        f"postgresql://gostack:{SECRET}@db/gostack",
        f"host=db password={SECRET} user=x",
        f"host=db password='{SECRET}' user=x",
        f"whsec_{TOKEN}==",
        f"{{'name': 'x', 'password': '{SECRET}'}}",
        f'{{"user_data": "a \\" {SECRET}"}}',
        f"[type=string_type, input_value={{'password': '{SECRET}'}}, input_type=dict]",
    ],
)
def test_secrets_are_told_by_their_form(text: str) -> None:
    assert SECRET not in masked(text)
    assert TOKEN not in masked(text)


def test_our_own_models_do_not_repeat_what_they_were_given() -> None:
    class Small(Model):
        size: int

    with pytest.raises(ValidationError) as refused:
        Small.model_validate({"size": SECRET})
    assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as wrong:
        Settings.model_validate({"api": {"port": SECRET}})
    assert SECRET not in str(wrong.value)
    headers = (
        ("ce_id", b"0b0e5f0e-0000-4000-8000-000000000000"),
        ("ce_type", b"gostack.flavor.create.v1"),
        ("ce_subject", b"flavor/x"),
        ("ce_time", b"2026-01-01T00:00:00Z"),
        ("ce_source", b"x"),
        ("ce_correlationid", b"x"),
    )
    with pytest.raises(UnknownMessage) as unread:
        from_record(Record("gostack.commands", b"x", f'{{"core": "{SECRET}"}}'.encode(), headers, 0, 1))
    assert SECRET not in str(unread.value)


def test_a_traceback_has_its_causes_and_groups() -> None:
    def first() -> None:
        raise ValueError("first")

    def second() -> None:
        try:
            first()
        except ValueError as error:
            raise RuntimeError("second\nof two lines") from error

    error = raised(second)
    error.add_note("a note")
    told = traceback_of(ExceptionGroup("all", [error, KeyError("other")]))
    for line in (
        "ExceptionGroup: all (2 sub-exceptions)",
        "    ValueError: first",
        "    RuntimeError: second\nof two lines",
        "    a note",
        "    KeyError: 'other'",
    ):
        assert line in told
    assert any("direct cause" in line for line in told)
    assert told.index("    ValueError: first") < told.index("    RuntimeError: second\nof two lines")


def test_a_long_chain_of_causes_ends() -> None:
    error = ValueError("0")
    for number in range(1, 1000):
        after = ValueError(str(number))
        after.__cause__ = error
        error = after
    told = traceback_of(error)
    assert told[-1] == "ValueError: 999"
    assert len(told) < 100
