"""HTTP client of the hosts' agents, for the requests that do not go over the log.

The console, the address of a display and the counters of rules are no state of anything: they change by the second, and
the address comes with a secret.
"""

from typing import Any

import httpx
import orjson

from api.http.refusals import AgentRefused, AgentUnreachable, NoHostYet
from domain.host.local_disks import LocalDisks
from domain.network.on_host import GroupCounters
from infra.process.error_text import named
from projections.store.port import Store

TIMEOUT = 10.0


class Agents:
    """HTTP client of the agents' own endpoints."""

    def __init__(self, store: Store, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Set the store with the agents' addresses, and their token; `transport` replaces the network in tests."""
        self._store = store
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT, transport=transport, trust_env=False
        )

    async def console(self, instance: dict[str, Any], most: int) -> bytes:
        """Return the last `most` bytes of an instance's console. Raises NoHostYet, AgentUnreachable, AgentRefused."""
        answer = await self._ask("GET", instance, "console", {"most": str(most)})
        return answer.content

    async def local_disks(self, instance: dict[str, Any]) -> LocalDisks:
        """Return the local disks of an instance. Raises NoHostYet, AgentRefused, and AgentUnreachable, also where the
        agent says something else."""
        answer = await self._ask("GET", instance, "disks", {})
        try:
            return LocalDisks.model_validate_json(answer.content)
        except ValueError as wrong:
            raise AgentUnreachable(host=instance["host"]["name"], why=named(wrong)) from wrong

    async def vnc(self, instance: dict[str, Any]) -> bytes:
        """Return the address of an instance's display and a new password, as JSON.

        Raises NoHostYet, AgentUnreachable, AgentRefused.
        """
        answer = await self._ask("POST", instance, "vnc", {})
        return answer.content

    async def counters(self, host: dict[str, Any], group_id: str) -> GroupCounters:
        """Return how much the rules of a security group have permitted on a host. Raises AgentUnreachable, also where
        the agent is of an earlier release."""
        path = f"/v1/hosts/{host['id']}/security-groups/{group_id}/counters"
        try:
            answer = await self._client.get(str(host.get("endpoint", "")).rstrip("/") + path)
            answer.raise_for_status()
            return GroupCounters.model_validate_json(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AgentUnreachable(host=host["name"], why=named(error)) from error

    async def _ask(self, method: str, instance: dict[str, Any], what: str, params: dict[str, str]) -> httpx.Response:
        if instance["host"] is None:
            raise NoHostYet(id=instance["id"], status=instance["status"])
        host = instance["host"]
        url = f"{await self._endpoint(host)}/v1/hosts/{host['id']}/instances/{instance['id']}/{what}"
        try:
            answer = await self._client.request(method, url, params=params)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AgentUnreachable(host=host["name"], why=named(error)) from error
        if answer.status_code in (404, 409):
            raise AgentRefused(host=host["name"], why=_told(answer))
        if not answer.is_success:
            raise AgentUnreachable(host=host["name"], why=_told(answer))
        return answer

    async def _endpoint(self, host: dict[str, Any]) -> str:
        found = await self._store.get("hosts", host["id"])
        endpoint = str(orjson.loads(found.doc).get("endpoint", "")) if found else ""
        if not endpoint:
            raise AgentUnreachable(host=host["name"], why="its address is not known")
        return endpoint.rstrip("/")

    async def close(self) -> None:
        """Close all connections to agents."""
        await self._client.aclose()


def _told(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        return answer.text[:500]
    if isinstance(document, dict):
        for name in ("detail", "message", "code"):
            if isinstance(document.get(name), str):
                return str(document[name])[:500]
    return str(document)[:500]
