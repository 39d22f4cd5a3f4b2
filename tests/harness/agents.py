"""Hosts that do what they are told, without a hypervisor: they answer jobs off the log as agents do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import (
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    from_record,
    named_id,
    to_record,
)
from domain.host.messages import Inventory, RegisterHost
from domain.tasks.messages import DispatchHostJobs, JobError, JobResult, JobsAnswered
from tests.harness.answers import facts_of

GIB = 1 << 30


@dataclass
class TestAgents:
    """All hosts of a world."""

    __test__ = False

    clock: Callable[[], datetime]
    failures: dict[str, JobError] = field(default_factory=dict)
    """Job name -> the error that it ends with, whenever it is asked for."""
    silent: set[str] = field(default_factory=set)
    """Names of jobs that are not answered, unless late()."""
    taken: list[DispatchHostJobs] = field(default_factory=list)
    """Every dispatch that came, answered or not."""
    unanswered: list[Envelope] = field(default_factory=list)

    def answer(self, records: Sequence[Record]) -> list[Record]:
        """Do the jobs in these records."""
        answers = []
        for record in records:
            if record.filler:
                continue
            cause = from_record(record)
            if isinstance(cause.data, DispatchHostJobs):
                self.taken.append(cause.data)
                if self.silent.intersection(call.name for call in cause.data.jobs):
                    self.unanswered.append(cause)
                else:
                    answers.append(self._answer(cause, cause.data))
        return answers

    def late(self) -> list[Record]:
        """Answers to everything that was not answered so far; from now on none is silent."""
        self.silent.clear()
        causes, self.unanswered = self.unanswered, []
        return [self._answer(cause, cause.data) for cause in causes if isinstance(cause.data, DispatchHostJobs)]

    def _answer(self, cause: Envelope, dispatch: DispatchHostJobs) -> Record:
        results = []
        for call in dispatch.jobs:
            error = self.failures.get(call.name)
            facts = () if error else facts_of(None, call)
            results.append(JobResult(job_id=call.job_id, name=call.name, error=error, facts=facts))
            if error:
                break
        answer = JobsAnswered(
            task_id=dispatch.task_id,
            dispatch_id=dispatch.dispatch_id,
            host_id=dispatch.host_id,
            epoch=dispatch.epoch,
            results=tuple(results),
        )
        envelope = Envelope(
            id=derived_id(cause.id, "answer"),
            data=answer,
            subject=dispatch.key,
            time=self.clock(),
            source=f"gostack/agent/{dispatch.host_id}",
            correlation=cause.correlation,
            causation=cause.id,
            actor=cause.actor,
            project=cause.project,
        )
        return to_record(envelope, Topic.RESULTS)


def host_key(name: str) -> Key:
    """The host with this name."""
    return Key("host", named_id("host", name))


def registration(
    name: str,
    zone: str = "default",
    endpoint: str = "",
    vcpus: int = 16,
    cell: str = DEFAULT_CELL,
    uplink: str = "",
    tunnel_key: str = "",
) -> RegisterHost:
    """What a host's agent says when it starts."""
    inventory = Inventory(vcpus=vcpus, memory=64 * GIB, disk=1024 * GIB)
    return RegisterHost(
        name=name,
        zone=zone,
        cell=cell,
        inventory=inventory,
        endpoint=endpoint or f"http://{name}.test",
        uplink=uplink,
        tunnel_key=tunnel_key,
    )
