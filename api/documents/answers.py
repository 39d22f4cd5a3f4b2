"""Documents that answer a command."""

from pydantic import ConfigDict, Field

from api.documents.document import Document


class Accepted(Document):
    """The command was accepted and became a task; without `task_id`, its verdict is not known yet."""

    # As in Done.
    model_config = ConfigDict(extra="allow")

    task_id: str | None = Field(None, description="id of the task to wait for; absent while there is no verdict")
    command_id: str
    id: str = Field(description="id of the resource that the command is for")


class Done(Document):
    """The command was accepted and is done, and no document shows its effect: it cannot be read yet, or the resource is
    gone."""

    # What no later answer has, such as a webhook's secret, is in this one too.
    model_config = ConfigDict(extra="allow")

    command_id: str
    id: str = Field(description="id of the resource that the command is for")


class ReleasedDocument(Document):
    """A parked aggregate was released and takes commands again."""

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
    """An error in one field of a request."""

    field: str
    message: str
    allowed: str | None = None
    given: str | int | float | bool | None = None


class Problem(Document):
    """A problem document (RFC 9457): why a request was not carried out."""

    type: str = Field(description="urn:gostack:problem:CODE")
    title: str
    status: int
    detail: str
    code: str = Field(description="permanent identifier of the problem, for programs to act on")
    hint: str
    values: dict[str, str]
    instance: str
    errors: list[ProblemField] | None = None


class CommandDocument(Document):
    """A command and its verdict, as far as it is known."""

    id: str
    verdict: str = Field(description="accepted, already or refused; pending: not decided yet, or never sent")
    subject: str | None = None
    task_id: str | None = None
    problem: Problem | None = None
    message: str | None = None
    actor: str | None = None
    project_id: str | None = None
    correlation_id: str | None = None
    at: str | None = None
