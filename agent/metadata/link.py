"""The agent's side of the metadata service: it runs the process that speaks with guests, and answers what that asks."""

import asyncio
import base64
import json
import logging
import pwd
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from infra.process.settings import Http

MESSAGE = 64
"""Bytes of a message about a socket, at most."""
LONGEST_ANSWER = 1 << 20
"""Bytes of an answer, at most: user data may have 64 KiB."""
PAUSE = 1.0
"""Seconds until a process that ended is started again."""

logger = logging.getLogger(__name__)

Answer = Callable[[int, str, str], bytes | None]
"""Given a network's segment, an address there and the name of a document: its content; None where there is none."""


class MetadataProcess:
    """The process, started again whenever it ends, with the sockets of all networks."""

    def __init__(self, answer: Answer, account: str, token: str, limits: Http) -> None:
        """`account`: the user that the process runs as; `token`: `optional` or `required`."""
        self._answer = answer
        self._account = account
        self._token = token
        self._limits = limits
        self._held: dict[int, socket.socket] = {}
        self._link: socket.socket | None = None
        self._lock = threading.Lock()
        self.pid = 0
        """Process id of the process, or of the last one."""

    def add(self, segment: int, listening: socket.socket) -> None:
        """Have the network's guests answered on this socket, in place of an earlier one. From any thread."""
        with self._lock:
            if before := self._held.pop(segment, None):
                before.close()
            self._held[segment] = listening
            self._send(segment, listening)

    def remove(self, segment: int) -> None:
        """Answer the network's guests no more. From any thread."""
        with self._lock:
            if before := self._held.pop(segment, None):
                before.close()
            self._send(segment, None)

    async def run(self) -> None:
        """Have the process until cancelled."""
        try:
            while True:
                code = await self._once()
                logger.error("the metadata process ended with %s, and is started again", code)
                await asyncio.sleep(PAUSE)
        finally:
            with self._lock:
                for listening in self._held.values():
                    listening.close()
                self._held.clear()

    async def _once(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked, asking = socket.socketpair()
        with theirs, asking:
            process = await asyncio.create_subprocess_exec(
                *self._command(theirs.fileno(), asking.fileno()), pass_fds=(theirs.fileno(), asking.fileno())
            )
        self.pid = process.pid
        reader, writer = await asyncio.open_connection(sock=asked)
        answering = asyncio.create_task(self._answers(reader, writer))
        try:
            with self._lock:
                self._link = ours
                for segment, listening in self._held.items():
                    self._send(segment, listening)
            return await process.wait()
        finally:
            with self._lock:
                self._link = None
                ours.close()
            answering.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            writer.close()

    def _command(self, sockets: int, questions: int) -> list[str]:
        user = pwd.getpwnam(self._account)
        return [
            # In a network without anything in it: what it was handed is all that it can speak to.
            "unshare",
            "--net",
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--pdeathsig=KILL",
            sys.executable,
            "-m",
            "agent.metadata.server",
            f"--sockets={sockets}",
            f"--questions={questions}",
            f"--token={self._token}",
            f"--limits={self._limits.model_dump_json()}",
        ]

    def _send(self, segment: int, listening: socket.socket | None) -> None:
        if self._link is None:
            return
        # A process that is ending is given all sockets when it is started again.
        with suppress(OSError):
            socket.send_fds(self._link, [str(segment).encode()], [listening.fileno()] if listening else [])

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            segment, address, name = json.loads(line)
            try:
                found = await asyncio.to_thread(self._answer, int(segment), str(address), str(name))
            except (OSError, ValueError):
                # The guest may be going at this moment; without an answer the process would wait for ever.
                logger.exception("a guest's question about itself could not be answered")
                found = None
            told = None if found is None else base64.b64encode(found).decode()
            writer.write(json.dumps(told).encode() + b"\n")
            await writer.drain()
