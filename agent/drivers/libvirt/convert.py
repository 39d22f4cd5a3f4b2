"""Work of qemu-img on whole disks: how far it is, and its end whenever whoever waits for it has enough."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import suppress

from agent.drivers.driver import DriverError, DriverFault
from infra.disks import qemu_img

LOOK = 0.2
"""Seconds between looks at a copy that is being made."""
PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")


async def converting(read_as: str, *arguments: str, operation: str = "convert") -> AsyncGenerator[float, None]:
    """Run `qemu-img convert`, or another operation, and yield now and then how much is done, 0 to 1; it is killed where
    the generator is closed.

    Raises DriverError "host-command-failed".
    """
    command = qemu_img.command(operation, read_as, "-p", *arguments, limits=qemu_img.COPY)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    done = 0.0
    try:
        while not process.stdout.at_eof():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    if found := PERCENT.findall(await process.stdout.read(4096)):
                        done = float(found[-1]) / 100
            yield done
        said = (await process.stderr.read()).decode(errors="replace")
        if await process.wait() != 0:
            message = "qemu-img failed on the host; the log of the host's agent says why"
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, message, said.strip()[:500])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
