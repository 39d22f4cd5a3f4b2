"""Read models and what is done to them; what projects use."""

from pydantic import Field

from api.documents.document import Document


class ProjectionDocument(Document):
    """A read model, and how far it is behind the log."""

    name: str
    rows: int
    lag: int = Field(description="events that it does not have yet")
    lag_seconds: float = Field(description="for which the oldest of these has waited, by the log's clock")


class RunDocument(Document):
    """Something done to the read models as a whole."""

    id: str
    kind: str
    status: str = Field(description="asked, running, finished or failed")
    actor: str
    asked: str
    started: str | None
    finished: str | None
    done: int = Field(description="events it has taken")
    total: int = Field(description="events in all, 0 while that is not known")
    seconds_left: float | None = Field(description="until all events are taken, at the speed so far")
    problems: list[str] = Field(description="differences that a comparison found, 100 at most")
    error: str


class UsageDocument(Document):
    """What a project uses."""

    project_id: str
    instances: int = Field(description="that are not deleted for good")
    vcpus: int = Field(description="held on hosts")
    memory: int = Field(description="bytes held on hosts")
    disk: int = Field(description="bytes held on hosts")
    ports: int
