"""Filters of lists: the parameters that a list takes, and the conditions that they become.

Why one mechanism for all lists: a filter that matches nothing because it was misspelt looks like an empty list. So
words of a closed set, names of other resources, addresses and times are checked here, whichever list they narrow.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model

from api.reads import resolve
from api.reads.queries import Many, Words
from api.services import Services
from domain.aggregates import AGGREGATES
from domain.core import times
from domain.core.choices import chosen, matching
from domain.core.errors import Invalid
from domain.kind import Kind, ListFilter
from projections.views.view import Condition, Operator

LONGEST_NAME = 255
LONGEST_ADDRESS = 64
LONGEST_RANGE = 600
TYPES: dict[str, Any] = {"text": str, "bigint": int, "boolean": bool, "text[]": str}
NAME = ListFilter("name", "with this name; * stands for anything, as in web*", form="pattern")
PROJECT = ListFilter("project_id", "of this project", column="project")


def _deletion(value: object) -> object:
    word = str(value).lower()
    return {"true": "only", "false": "no"}.get(word, word)


Deleted = Annotated[
    Literal["no", "only", "also"],
    BeforeValidator(_deletion),
    WithJsonSchema({"type": "string", "enum": ["no", "only", "also", "true", "false"]}),
]
"""Whether a list has what is deleted: no, only that, or that also; `true` and `false` mean `only` and `no`."""


def one_of(known: Iterable[str]) -> AfterValidator:
    """Return the check of a parameter that is a word of a closed set, in any case, or None."""
    return AfterValidator(lambda given: chosen(given, known) if given else given)


def some_of(known: Iterable[str]) -> AfterValidator:
    """Return the check of a parameter that is several words of a closed set, in any case, or None; in a word, * stands
    for anything."""

    def checked(given: list[str] | None) -> list[str] | None:
        return list(dict.fromkeys(word for each in given for word in matching(each, known))) if given else given

    return AfterValidator(checked)


def of_kind(kind: Kind) -> tuple[ListFilter, ...]:
    """Return the filters of a kind's list: by name, by project where it has one, and its own."""
    own = {each.field for each in kind.filters}
    usual = (NAME, PROJECT) if kind.of_projects else (NAME,)
    return (*(each for each in usual if each.field not in own), *kind.filters)


def list_query(title: str, filters: Sequence[ListFilter], *, deletable: bool, **more: tuple[Any, Any]) -> type[Many]:
    """Return the shape of the parameters of a list that these filters narrow. `more` are parameters of its own."""
    fields: dict[str, Any] = {each.field: (_type(each), Field(None, description=_described(each))) for each in filters}
    if deletable:
        telling = [each.field for each in filters if each.tells_deleted]
        unless = f"; unless given, what {' or '.join(telling)} asks for" if telling else ""
        description = f"whether what is deleted is listed: no, only, or also{unless}"
        fields["deleted"] = (Deleted | None, Field(None, description=description))
    fields |= more
    made: type[Many] = create_model(title, __base__=Many, __doc__=f"Parameters of {title}.", **fields)
    return made


def _type(each: ListFilter) -> Any:
    if each.values:
        return (
            Annotated[Words | None, some_of(each.values)]
            if each.several
            else Annotated[str | None, one_of(each.values)]
        )
    if each.several:
        return Words | None
    kind = TYPES[each.type] if not each.form else str
    lengths = {"address": LONGEST_ADDRESS, "range": LONGEST_RANGE}
    return Annotated[str, Field(max_length=lengths.get(each.form, LONGEST_NAME))] | None if kind is str else kind | None


def _described(each: ListFilter) -> str:
    several = ", separated by commas" if each.several else ""
    values = f": {', '.join(each.values)}" if each.values else ""
    return f"{each.help}{several}{values}"


async def conditions(
    services: Services, filters: Sequence[ListFilter], parameters: Any, project: str
) -> list[Condition]:
    """Return the conditions of a list, by a request's parameters.

    Raises NotFound and NameNotUnique for the name of another resource, Invalid for an address or a range of times.
    """
    where = deletion(filters, parameters)
    for each in filters:
        given = getattr(parameters, each.field)
        if given not in (None, "", []):
            where += await _conditions_of(services, each, given, project)
    return where


def deletion(filters: Sequence[ListFilter], parameters: Any) -> list[Condition]:
    """Return the condition on whether the rows are deleted, if there is any."""
    if not hasattr(parameters, "deleted"):
        return []
    wanted = parameters.deleted
    if wanted is None:
        wanted = "also" if any(each.tells_deleted and getattr(parameters, each.field) for each in filters) else "no"
    return [] if wanted == "also" else [Condition("deleted", "=", wanted == "only")]


async def _conditions_of(services: Services, each: ListFilter, given: Any, project: str) -> list[Condition]:
    if each.refers:
        names = given if each.several else [given]
        resolved = [await _referred(services, each, name, project) for name in names]
        if each.several:
            return [Condition(each.column, "in", resolved)]
        return [Condition(each.column, "contains" if each.type == "text[]" else "=", resolved[0])]
    match each.form:
        case "pattern":
            return [Condition(each.column, "like" if "*" in given else "=", given)]
        case "address":
            operator: Operator = "contains" if each.type == "text[]" else "="
            return [Condition(each.column, operator, _address(each.field, given))]
        case "range":
            return _range(services, each, given)
        case _:
            return [Condition(each.column, "in" if each.several else "=", given)]


async def _referred(services: Services, each: ListFilter, ref: str, project: str) -> str:
    view = AGGREGATES[each.refers].plural
    if not each.by_name:
        return (await resolve.found(services, view, ref, project)).id
    # What is deleted counts, too: what it was used for keeps its name.
    if not await services.store.find(view, ref, {}):
        raise await resolve.not_found(services, view, ref)
    return ref


def _address(field: str, given: str) -> str:
    try:
        return str(ipaddress.ip_address(given.strip()))
    except ValueError as error:
        raise Invalid(field=field, value=given, allowed="an IP address is needed, such as 10.0.0.5") from error


def _range(services: Services, each: ListFilter, given: str) -> list[Condition]:
    try:
        since, until = times.parsed_range(given, services.clock())
    except ValueError as error:
        raise Invalid(field=each.field, value=given[:80], allowed=str(error)) from error
    begin = [Condition(each.column, ">=", since)] if since is not None else []
    return begin + ([Condition(each.column, "<=", until)] if until is not None else [])
