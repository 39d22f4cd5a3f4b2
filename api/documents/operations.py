"""Documents about read models, runs on them, and the usage of projects."""

from pydantic import Field

from api.documents.document import Document


class ProjectionDocument(Document):
    """A read model, with its size and how far it is behind the log."""

    name: str
    rows: int
    lag: int = Field(description="number of events that the read model does not have yet")
    lag_seconds: float = Field(
        description="seconds for which the oldest of these events has waited, by the log's clock"
    )


class RunDocument(Document):
    """A run: a rebuild, a rollback or a verification of all read models."""

    id: str
    kind: str
    status: str = Field(description="asked, running, finished or failed")
    actor: str
    asked: str
    started: str | None
    finished: str | None
    done: int = Field(description="number of events that were processed so far")
    total: int = Field(description="number of all events to process; 0 while it is not known")
    seconds_left: float | None = Field(description="estimated seconds until the run has processed all events")
    problems: list[str] = Field(description="differences that a verification found, at most 100")
    error: str


class UsageDocument(Document):
    """The resources that a project uses."""

    project_id: str
    instances: int = Field(description="number of instances, without those that are deleted for good")
    vcpus: int = Field(description="virtual CPUs held on hosts")
    memory: int = Field(description="bytes of memory held on hosts")
    disk: int = Field(description="bytes of disk held on hosts")
    ports: int
