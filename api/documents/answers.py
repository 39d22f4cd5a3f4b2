"""What a command is answered."""

from pydantic import Field

from api.documents.document import Document


class Accepted(Document):
    """The command became a task; or, without `task_id`, its verdict is not known yet."""

    task_id: str | None = Field(None, description="what to wait for; absent while there is no verdict")
    command_id: str
    id: str = Field(description="the resource")


class Released(Document):
    """What was parked takes commands again."""

    subject: str = Field(description="KIND/ID")
    released: bool = Field(description="false where it was not parked")
    command_id: str


class Already(Document):
    """The request is fulfilled already; nothing was changed."""

    already: bool
    message: str
    command_id: str
    id: str


class ProblemField(Document):
    """What is wrong with one field."""

    field: str
    message: str
    allowed: str | None = None
    given: str | int | float | bool | None = None


class Problem(Document):
    """Why not (RFC 9457)."""

    type: str = Field(description="urn:gostack:problem:CODE")
    title: str
    status: int
    detail: str
    code: str = Field(description="permanent: what a program acts on")
    hint: str
    values: dict[str, str]
    instance: str
    errors: list[ProblemField] | None = None


class CommandDocument(Document):
    """What became of a command."""

    id: str
    verdict: str = Field(description="accepted, already, refused; or pending: not decided yet, or never sent")
    subject: str | None = None
    task_id: str | None = None
    problem: Problem | None = None
    message: str | None = None
    actor: str | None = None
    project_id: str | None = None
    correlation_id: str | None = None
    at: str | None = None
