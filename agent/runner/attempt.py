"""An attempt runs a job once: with its time-out, with its reports of progress, and with a way to stop it.

Why the handler has an asyncio task of its own: an abort ends the handler and not the runner, which has an answer to
give. The handler learns of an abort as it learns of its time-out: it is cancelled, and cleans up in `finally`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from agent.drivers.driver import DriverError
from agent.jobs import HANDLERS, Context, Facts
from domain.core.messages import Message
from domain.guest_spec import GuestSpec
from domain.tasks.job import JOBS, HostJob
from domain.tasks.messages import DispatchHostJobs, JobCall, JobError, JobProgressed, JobResult, JobStarted
from domain.tasks.walk import PROGRESS_PERCENT, PROGRESS_SECONDS
from infra.process import failpoints
from infra.process.error_text import text_of

logger = logging.getLogger(__name__)

SLOW_SECONDS = 1.0
"""Seconds after which a job that still runs reports that it has begun."""
LONGEST_MESSAGE = 2000
"""Characters of an error's text that are sent."""


class Attempt:
    """A job that runs now, for one attempt."""

    def __init__(
        self,
        dispatch: DispatchHostJobs,
        call: JobCall,
        context: Context,
        say: Callable[[Message, str], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Prepare the attempt. `say` sends a message, under a name that is its own among all messages about the
        dispatch."""
        self._guest: GuestSpec | None = dispatch.guest
        self._call = call
        self._about = {
            "task_id": dispatch.task_id,
            "dispatch_id": dispatch.dispatch_id,
            "job_id": call.job_id,
            "name": call.name,
        }
        self._context = replace(context, progress=self.progress, task_id=dispatch.task_id)
        self._say = say
        self._clock = clock
        self._deadline = 0.0
        self._limit = asyncio.timeout(None)
        self._work: asyncio.Task[Facts] | None = None
        self._abortable = False
        self._aborted = False
        self._last_progress: tuple[float, datetime] | None = None
        """Percent and time of the last progress that was sent."""

    async def run(self) -> JobResult:
        """Run the job and return its result; a failure of any kind is in the result."""
        started = JobStarted(**self._about)
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._say, started, f"started/{self._call.job_id}")
        try:
            facts = await self._handled()
        except DriverError as error:
            logger.warning("%s failed: %s", self._call.name, error.for_operators())
            return failed(self._call, error.code, text_of(error))
        except TimeoutError:
            message = f"{self._call.name} took longer than {self._deadline:g} s."
            logger.warning("%s", message)
            return failed(self._call, "job-failed", message)
        except Exception as error:
            logger.exception("%s failed", self._call.name)
            # The text of an error that nobody foresaw may have anything of the host's own in it.
            kind = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            return failed(
                self._call, "job-failed", f"{self._call.name} failed ({kind}); the log of the host's agent says why."
            )
        finally:
            slow.cancel()
        if facts is None:
            return failed(self._call, "aborted", f"{self._call.name} was aborted while it ran.")
        return JobResult(job_id=self._call.job_id, name=self._call.name, facts=facts)

    def abort(self) -> None:
        """Stop the job if its class allows that; the job has its deadline's time once more to clean up."""
        if self._at_work and self._abortable and not self._aborted:
            assert self._work is not None
            self._aborted = True
            self._move_limit()
            self._work.cancel()

    def progress(self, done: int, total: int) -> None:
        """Begin the time-out anew, and send how far the job is, unless little changed since the last report."""
        if not self._at_work:
            return
        self._move_limit()
        percent = min(100.0, 100.0 * done / total) if total else 0.0
        now = self._clock()
        if self._last_progress is not None:
            before, at = self._last_progress
            if percent - before < PROGRESS_PERCENT and (now - at).total_seconds() < PROGRESS_SECONDS:
                return
        self._last_progress = percent, now
        said = JobProgressed(**self._about, percent=percent, done=done, total=total)
        self._say(said, f"progress/{self._call.job_id}/{now.isoformat()}")

    async def _handled(self) -> Facts | None:
        """Return the handler's facts, or None where the job was aborted. Raises TimeoutError, and what the handler
        raises."""
        job = JOBS[self._call.name].model_validate(self._call.args)
        self._deadline = job.deadline
        self._abortable = isinstance(job, HostJob) and job.abortable
        async with asyncio.timeout(job.deadline) as self._limit:
            failpoints.point("agent-acting")
            self._work = asyncio.ensure_future(HANDLERS[type(job)](job, self._guest, self._context))
            try:
                return await self._work
            except asyncio.CancelledError:
                # The time-out, or the end of the process, cancels the task that waits here; an abort does not.
                waiting = asyncio.current_task()
                if not self._aborted or (waiting is not None and waiting.cancelling()):
                    raise
                return None

    @property
    def _at_work(self) -> bool:
        return self._work is not None and not self._work.done() and not self._limit.expired()

    def _move_limit(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time() + self._deadline)


def failed(call: JobCall, code: str, message: str, **more: bool | dict[str, object]) -> JobResult:
    """Return the result of a job that failed. `more` are further fields of the error."""
    error = JobError.model_validate({"code": code, "message": message[:LONGEST_MESSAGE], **more})
    return JobResult(job_id=call.job_id, name=call.name, error=error)
