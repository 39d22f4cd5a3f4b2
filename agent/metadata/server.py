"""`python -m agent.metadata.server`: the process that speaks HTTP with guests, and has no rights on its host.

Why a process of its own: what strangers send is taken apart here and not in the agent, which is root. It opens nothing
itself: the agent hands it the listening socket of each network, and answers its questions.
"""

import argparse
import asyncio
import base64
import json
import logging
import socket
from typing import Literal, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from agent.metadata.app import NETWORK, metadata
from agent.metadata.link import LONGEST_ANSWER, MESSAGE
from infra.process.http_server import EmbeddedServer, embedded_server
from infra.process.settings import Http

logger = logging.getLogger(__name__)


class Questions:
    """Asks the agent, one question after another: it reads a file for each, and answers at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    async def ask(self, network: int, address: str, name: str) -> bytes | None:
        """Return a document of the guest that has the address in the network; None where there is none.

        Raises ConnectionError where the agent has ended.
        """
        async with self._turn:
            self._writer.write(json.dumps([network, address, name]).encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("the agent has ended")
        found = json.loads(line)
        return None if found is None else base64.b64decode(found)


class NetworkSockets:
    """The listening sockets, each of a network."""

    def __init__(self, app: ASGIApp, limits: Http) -> None:
        self._app = app
        self._limits = limits
        self._listening: dict[int, asyncio.Server] = {}
        self.server = self._server(app)

    async def add(self, network: int, listening: socket.socket) -> None:
        """Answer on this socket, in place of an earlier one of the network."""
        self.remove(network)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app({**scope, NETWORK: network}, receive, send)

        config = self._server(app).config
        config.load()

        def protocol() -> asyncio.Protocol:
            made = config.http_protocol_class(config=config, server_state=self.server.server_state, app_state={})  # type: ignore[call-arg]
            return made

        self._listening[network] = await asyncio.get_running_loop().create_server(protocol, sock=listening)

    def remove(self, network: int) -> None:
        """Listen there no more."""
        if before := self._listening.pop(network, None):
            before.close()

    def _server(self, app: ASGIApp) -> EmbeddedServer:
        # A network's own watch: one guest's connections are counted by its address there.
        return embedded_server(app, name="metadata", limits=self._limits)


async def serve(sockets: socket.socket, questions: socket.socket, token: str, limits: Http) -> None:
    """Answer guests until the agent ends. `sockets`: by which it hands sockets over; `questions`: by which it
    answers."""
    reader, writer = await asyncio.open_connection(sock=questions, limit=LONGEST_ANSWER)
    app = metadata(Questions(reader, writer).ask, cast("Literal['optional', 'required']", token))
    networks = NetworkSockets(app, limits)
    running = asyncio.create_task(networks.server.serve([]))
    try:
        while True:
            told, descriptors = await asyncio.to_thread(_received, sockets)
            if told is None:
                return
            if descriptors:
                await networks.add(told, socket.socket(fileno=descriptors[0]))
            else:
                networks.remove(told)
    finally:
        networks.server.should_exit = True
        await running


def _received(sockets: socket.socket) -> tuple[int | None, list[int]]:
    """Wait for the agent's next word: a network, with its socket or without; None when the agent has ended."""
    data, descriptors, _, _ = socket.recv_fds(sockets, MESSAGE, 1)
    return (int(data), descriptors) if data else (None, [])


def main() -> None:
    """Run until the agent ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, required=True, help="descriptor by which sockets come")
    parser.add_argument("--questions", type=int, required=True, help="descriptor by which questions are answered")
    parser.add_argument("--token", choices=("optional", "required"), default="optional")
    parser.add_argument("--limits", type=Http.model_validate_json, default=Http(), help="as JSON")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    sockets, questions = (socket.socket(fileno=each) for each in (asked.sockets, asked.questions))
    asyncio.run(serve(sockets, questions, asked.token, asked.limits))


if __name__ == "__main__":
    main()
