"""Options of a command line that are the fields of a request: one text and one set of bounds for the API and for gs.

Why made: what the API takes and what gs takes must not differ, and a new field of a command costs no line here.
"""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from cli.gs.completion import Completer, of_field, of_kind
from cli.gs.parsing import pairs, size, words
from domain.core.fields import BYTES, reference, several


def parameter_of(name: str, field: FieldInfo, *, needed: bool) -> inspect.Parameter:
    """The parameter that Typer makes the field's option from. One that is not `needed` is None where it was not given.

    Raises TypeError for a field whose type no option can hold.
    """
    kind, _ = _form(name, field)
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool and field.default is not False else flag,
        help=field.description,
        metavar=_metavar(field),
        min=_bound(field, Ge) if kind is not str else None,
        max=_bound(field, Le) if kind is not str else None,
        autocompletion=_completer(name, field),
        show_default=_default(name, field),
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else None,
        annotation=Annotated[kind if needed else kind | None, option],
    )


def sent(fields: Mapping[str, FieldInfo], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request, as the service takes them, from the options that were given."""
    return {name: _form(name, fields[name])[1](value) for name, value in given.items() if value is not None}


def _form(name: str, field: FieldInfo) -> tuple[Any, Callable[[Any], Any]]:
    """Return the type of an option's value, and the function that makes the request's value of it. Raises TypeError."""
    kind = _bare(field)
    if BYTES in field.metadata:
        return str, size
    if kind == dict[str, str]:
        return list[str], pairs
    if get_origin(kind) in (list, tuple) and _plain(get_args(kind)[0]) is str:
        return list[str], words
    if kind in (bool, int, float, str) or get_origin(kind) is Literal:
        return kind, lambda value: value
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind, str
    raise TypeError(f"gs can make no option of the field {name}: {field.annotation}")


def _plain(kind: Any) -> Any:
    """Return a type without what is declared about its values."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _completer(name: str, field: FieldInfo) -> Completer | None:
    """Return what completes the field: names of what it refers to, or of what it is called after."""
    mark = reference(field)
    return of_kind(mark.kind, several=several(field)) if mark else of_field(name)


def _bare(field: FieldInfo) -> Any:
    """Return the type of a field without None."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kinds = [each for each in get_args(kind) if each is not NoneType]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _metavar(field: FieldInfo) -> str | None:
    """Return the placeholder of the option's value; None for the default of its type."""
    if BYTES in field.metadata:
        return "SIZE"
    return "K=V,…" if _bare(field) == dict[str, str] else None


def _default(name: str, field: FieldInfo) -> str | bool:
    """Return the default of an option for the help text; False if it need not be shown."""
    value = field.get_default(call_default_factory=False)
    if value is True:
        return name.replace("_", "-")
    return str(value) if value and isinstance(value, (int, float, str)) else False


def _bound(field: FieldInfo, of: type[Ge] | type[Le]) -> Any:
    """Return the least or the greatest value that a field takes; None if it has no such limit."""
    for each in field.metadata:
        if isinstance(each, of):
            return each.ge if isinstance(each, Ge) else each.le
    return None
