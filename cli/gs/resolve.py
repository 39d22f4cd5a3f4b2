"""Resolution of names to ids: a unique name may be used instead of an id.

Why on this side: the error can list what the name might have meant, and every command has it.
"""

import re
import unicodedata
from urllib.parse import quote

from cli.gs.client import Client
from cli.gs.problems import Missing, Usage
from cli.gs.resources import Resource

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
CANDIDATES = 20
ADDRESSABLE = re.compile(r"(?!\.{1,2}$)[^/]+")
"""Names that can stand in a path."""


def resolve(client: Client, resource: Resource, text: str, **where: str) -> str:
    """Return the id of the resource with this name or id, among those that a list with these parameters shows.

    Raises Missing, Usage.
    """
    text = unicodedata.normalize("NFC", text)  # the form in which the service keeps names
    if not text:
        raise Usage(f"The {resource.noun}'s name or ID is empty.")
    if UUID.fullmatch(text) or not resource.named:
        return text
    answer = client.get(resource.path(), name=text, limit=CANDIDATES, **where)
    found = [each for each in answer.items(resource.plural) if each.get("name") == text]
    if not found and not where and ADDRESSABLE.fullmatch(text):
        # The service says why: it may have been deleted, or there is a name like it.
        return str(client.get(resource.path(quote(text, safe=""))).get("id"))
    if not found:
        raise Missing(f"There is no {resource.noun} {text}.", f"gs {resource.noun} list shows all {resource.plural}.")
    if len(found) > 1:
        # As the service itself has it: names of the own project go before those of others.
        found = [each for each in found if each.get("project_id") == client.project] or found
    if len(found) > 1:
        told = ", ".join(" ".join(filter(None, (each["id"], each.get("status", "")))) for each in found)
        raise Usage(f"{len(found)} {resource.plural} are called {text}: {told}.", "Use an ID instead of the name.")
    return str(found[0]["id"])
