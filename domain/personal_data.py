"""Personal data: the texts of messages and states that may say something of a person, and whose key can encrypt each.

Why a table of what is never personal: the log is kept for ever, so a text field that nobody thought about would be too.
A new field is decided by a mark (`domain/core/fields.py`) or by its name's place in this table; a test wants one of the
two. `python -m domain.personal_data > docs/personal-data.md` prints what was decided.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple, get_args, get_type_hints

from domain.aggregates import AGGREGATES
from domain.catalog import MESSAGES
from domain.core.fields import PLAIN, Owner, Personal
from domain.core.messages import Envelope, Message, Model
from domain.tasks.job import FACTS, Fact

NEVER_PERSONAL: dict[str, str] = {
    "identities made by GoStack: UUIDs, or a kind and a UUID": """
        also_on among avoid beside causation claim claims copies correlation founder holder host hosts id instance
        pool ports reached_by
        remote_group security_group_ids security_groups snapshots source_hosts subject taken task wanted_host
    """,
    "names of classes, steps, verbs and codes that stand in GoStack's code": """
        action code command fails filter flow hint holder_kind job jobs rules source started step types undo
    """,
    "one of a few words": "arch before ends format hypervisor mode policy status",
    "parts of the operator's machinery: cells, zones, hosts and where they are reached": """
        cell cells destination_name endpoint source_name tunnel_key uplink zone
    """,
    "addresses inside a virtual network": "cidr cidr6 gateway ip mac own_mac",
    "places, traces and sums of bytes": "cause_place checksum place traceparent written",
    "the project, which says whose key it is": "project",
}
"""Why -> names of fields, separated by spaces, whose text never says anything of a person, whichever class has them."""

NAMES = frozenset(" ".join(NEVER_PERSONAL.values()).split())

NEVER_PERSONAL_ENDINGS = ("_id", "_ref")
"""Endings of such names: identities, and references to secrets, which the log never holds."""


class TextField(NamedTuple):
    """A field with text somewhere in a message or a state."""

    path: str
    """From the message down, as "flavor.name"."""
    field: str
    """The class that has the field, and its name there, as "FlavorRef.name"."""
    mark: Any
    """The field's Personal, or PLAIN, or None where it has no mark."""
    plain_name: bool
    """Whether a field of this name is never personal."""

    @property
    def undecided(self) -> bool:
        """Whether the text is neither marked nor in the table."""
        return self.mark is None and not self.plain_name

    def of(self, owner: Owner) -> bool:
        """Whether the text is this owner's."""
        return isinstance(self.mark, Personal) and self.mark.owner is owner


def texts(model: type[Model], path: str = "") -> Iterator[TextField]:
    """Yield every text of a message or a state, all the way down."""
    for name, field in model.model_fields.items():
        parts = [*_parts(field.annotation), *field.metadata]
        yield from _text(model.__name__, path, name, parts)
        for inner in dict.fromkeys(_models(parts)):
            yield from texts(inner, f"{path}{name}.")


def envelope_texts() -> Iterator[TextField]:
    """Yield every attribute of the envelope that is a text."""
    hints = get_type_hints(Envelope, include_extras=True)
    for attribute in fields(Envelope):
        yield from _text("Envelope", "", attribute.name, list(_parts(hints[attribute.name])))


def models() -> dict[str, type[Model]]:
    """Return every message by its type name, then every aggregate's state by its kind."""
    messages = {name: kind for name, kind in sorted(MESSAGES.items()) if kind.__module__.startswith("domain.")}
    return {**messages, **{row.name: row.state for row in AGGREGATES.values()}}


def all_texts() -> dict[str, list[TextField]]:
    """Return the texts of the envelope, of each message and of each aggregate, by name."""
    return {"envelope": list(envelope_texts()), **{name: list(texts(model)) for name, model in models().items()}}


def undecided() -> list[str]:
    """Return each field that has text and no decision, once, in the order of the names."""
    return sorted({text.field for found in all_texts().values() for text in found if text.undecided})


def _text(owner: str, path: str, name: str, parts: list[Any]) -> Iterator[TextField]:
    if str not in parts and Any not in parts:
        return
    mark = next((part for part in parts if part is PLAIN or isinstance(part, Personal)), None)
    plain_name = name in NAMES or name.endswith(NEVER_PERSONAL_ENDINGS)
    yield TextField(f"{path}{name}", f"{owner}.{name}", mark, plain_name)


def _parts(annotation: Any) -> Iterator[Any]:
    """All that an annotation is made of: types, marks, alternatives, keys and values."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _models(parts: Iterable[Any]) -> Iterator[type[Model]]:
    for part in parts:
        if part is Fact:
            yield from (kind for _, kind in sorted(FACTS.items()))
        elif isinstance(part, type) and issubclass(part, Model):
            yield part


def page() -> str:
    """Return the page, in Markdown."""
    lines = [
        "# Personal data",
        "",
        "Printed from the marks on the fields (`python -m domain.personal_data`); a test holds this page to them, and",
        "wants a decision for each new text.",
        "",
        "A marked text may say something of a person. It can be encrypted under a key of its *owner*, and is lost with",
        "that key. The owner is the project that the thing belongs to, the operator where the thing belongs to none,",
        "or the actor who wrote the text or whom it names. Nothing is encrypted yet.",
        "",
        "| record or state | owner | texts of the owner | texts of an actor |",
        "|---|---|---|---|",
    ]
    found = all_texts()
    for name, each in found.items():
        own, actors = (dict.fromkeys(text.path for text in each if text.of(owner)) for owner in Owner)
        if own or actors:
            lines.append(f"| {name} | {_owner(name) if own else ''} | {', '.join(own)} | {', '.join(actors)} |")
    marked_plain = {text.field for each in found.values() for text in each if text.mark is PLAIN}
    plain = {
        **{why: names.split() for why, names in NEVER_PERSONAL.items()},
        "other identities, and references to secrets": [f"*{ending}" for ending in NEVER_PERSONAL_ENDINGS],
        "marked where the class has the field": marked_plain,
    }
    lines += ["", "## What is never personal", "", "| why | fields |", "|---|---|"]
    lines += [f"| {why} | {', '.join(sorted(names))} |" for why, names in plain.items()]
    return "\n".join([*lines, ""])


def _owner(name: str) -> str:
    model = models()[name]
    kind = model.kind if issubclass(model, Message) else name
    return "operator" if kind in AGGREGATES and not AGGREGATES[kind].of_projects else "project"


if __name__ == "__main__":
    print(page(), end="")
