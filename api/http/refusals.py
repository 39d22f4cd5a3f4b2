"""What the API itself refuses, before or after a command is on the log. Their categories become HTTP statuses."""

from domain.core.errors import Category, Refusal


class NameNotUnique(Refusal):
    """The name {name} is that of several {kind}s: {ids}."""

    code = "name-not-unique"
    category = Category.CONFLICT
    hint = "Use one of these ids."


class NetworkNeeded(Refusal):
    """There are several networks ({names}), and none was named."""

    code = "network-needed"
    category = Category.CONFLICT
    hint = "Name a network or a port."


class KeyReused(Refusal):
    """The Idempotency-Key was used before, for another request (command {command})."""

    code = "idempotency-key-reused"
    category = Category.INVALID
    hint = "Make a new key for a new request."


class Malformed(Refusal):
    """The request cannot be read: {why}."""

    code = "malformed"
    category = Category.MALFORMED


class TooLarge(Refusal):
    """The body may have {most} bytes at most."""

    code = "too-large"
    category = Category.TOO_LARGE


class NoRoute(Refusal):
    """There is nothing at {path}."""

    code = "no-route"
    category = Category.NOT_FOUND
    hint = "GET /openapi.json lists every route."


class MethodNotAllowed(Refusal):
    """{path} knows no {method}."""

    code = "method-not-allowed"
    category = Category.NOT_ALLOWED
    hint = "GET /openapi.json lists every route."


class Unavailable(Refusal):
    """{part} does not answer. {consequence}"""

    code = "unavailable"
    category = Category.UNAVAILABLE
    hint = "Ask again; with the same Idempotency-Key nothing is done twice."


class Overloaded(Refusal):
    """Too much at once: {now} {what}; {bound} allows {most}."""

    code = "overloaded"
    category = Category.TOO_MUCH
    hint = "Ask again after the seconds that Retry-After says."


class EventNotRetried(Refusal):
    """Dead record {id} is an event ({place}): put on its topic again it would be a second one that nobody can read."""

    code = "event-not-retried"
    category = Category.CONFLICT
    hint = "See whether anything is missing by it (gostack check), then drop it (gs event dead drop)."


class NotAppliedYet(Refusal):
    """What {after} led to cannot be read yet: it is not decided, or the projection is behind."""

    code = "not-applied-yet"
    category = Category.LATE
    hint = "Ask again, or without after= for what is known now."


class ProjectionBusy(Refusal):
    """Run {id} is under way, and only one is at a time."""

    code = "projection-busy"
    category = Category.CONFLICT
    hint = "Ask again when it has ended."


class TooManyWebhooks(Refusal):
    """There are {most} webhooks, which is the most there may be."""

    code = "too-many-webhooks"
    category = Category.CONFLICT
    hint = "Delete one, or raise webhooks.most."


class TooLargeForAFile(Refusal):
    """What happened to all that {about} touched is more than {most}, the most that one file holds."""

    code = "too-large-for-a-file"
    category = Category.INVALID
    hint = "Name an earlier moment as until, or read the history in pages."


class ReplayTooLong(Refusal):
    """Going through the past again took longer than {seconds} s."""

    code = "replay-too-long"
    category = Category.INVALID
    hint = "An operator may allow more (api.replay_timeout); the log has to be read from its beginning in it."


class NoHostYet(Refusal):
    """Instance {id} is {status} and has no host: there is nobody to ask."""

    code = "no-host-yet"
    category = Category.CONFLICT


class AgentUnreachable(Refusal):
    """The agent of host {host} does not answer: {why}."""

    code = "agent-unreachable"
    category = Category.UPSTREAM


class AgentRefused(Refusal):
    """The agent of host {host} says: {why}."""

    code = "agent-refused"
    category = Category.CONFLICT


class NotAuthorized(Refusal):
    """The bearer token is missing or wrong."""

    code = "not-authorized"
    category = Category.UNAUTHENTICATED


class Broken(Refusal):
    """Something is wrong in GoStack itself. The API's log has it under {incident}."""

    code = "broken"
    category = Category.BROKEN
