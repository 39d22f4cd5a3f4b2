"""The document that says why a task failed."""

from pydantic import Field

from domain.tasks.task import Fault


class FaultDocument(Fault):
    """Why a task failed, and what to do next."""

    hint: str = Field("", description="next step in words; empty if none is known to help")
