"""Refusals of the API itself, before or after a command is on the log. Their categories become HTTP statuses."""

from domain.core.errors import Category, Refusal


class NameNotUnique(Refusal):
    """The name {name} is that of several {kind}s: {ids}."""

    code = "name-not-unique"
    category = Category.CONFLICT
    hint = "Use one of these ids instead of the name."


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
    """The request body may have at most {most} bytes."""

    code = "too-large"
    category = Category.TOO_LARGE


class WrongOffset(Refusal):
    """The piece begins at byte {given}, and {offset} bytes are there."""

    code = "wrong-offset"
    category = Category.CONFLICT
    hint = "Send the rest from there: GET /v1/images/ID/upload says how many bytes are there."


class ImageBusy(Refusal):
    """Another request, or a worker, has the bytes of image {id} just now."""

    code = "image-busy"
    category = Category.CONFLICT
    hint = "Try again in a moment."


class RemoteImage(Refusal):
    """Image {id} is fetched from its URL, and takes no upload."""

    code = "remote-image"
    category = Category.CONFLICT


class WrongHost(Refusal):
    """The API is not known by the name {name}."""

    code = "wrong-host"
    category = Category.MISDIRECTED
    hint = "Use localhost, the machine's name or the API's address; an operator may allow another name (api.names)."


class ForeignOrigin(Refusal):
    """The request comes from a web page of {origin}, which may change nothing here."""

    code = "foreign-origin"
    category = Category.FORBIDDEN
    hint = "Use gs, or a page of the API itself; a proxy in front of the API has to pass Host on."


class OwnDelivery(Refusal):
    """The request was sent by a webhook of GoStack's, which may change nothing here."""

    code = "own-delivery"
    category = Category.FORBIDDEN
    hint = "Give the webhook the URL of a receiver."


class NoRoute(Refusal):
    """There is nothing at {path}."""

    code = "no-route"
    category = Category.NOT_FOUND
    hint = "GET /openapi.json lists every route."


class MethodNotAllowed(Refusal):
    """The method {method} is not allowed at {path}."""

    code = "method-not-allowed"
    category = Category.NOT_ALLOWED
    hint = "GET /openapi.json lists every route."


class Unavailable(Refusal):
    """{part} does not answer. {consequence}"""

    code = "unavailable"
    category = Category.UNAVAILABLE
    hint = "Repeat the request; with the same Idempotency-Key nothing is done twice."


class Overloaded(Refusal):
    """The service is overloaded: {now} {what}; {bound} allows {most}."""

    code = "overloaded"
    category = Category.TOO_MUCH
    hint = "Repeat the request after the number of seconds in Retry-After."


class EventNotRetried(Refusal):
    """Dead record {id} is an event ({place}): on its topic again it would be a second one that cannot be read."""

    code = "event-not-retried"
    category = Category.CONFLICT
    hint = "Run gostack check to see whether anything is missing, then drop it (gs event dead drop)."


class NotAppliedYet(Refusal):
    """The effects of {after} cannot be read yet: it is not decided, or the read models are behind."""

    code = "not-applied-yet"
    category = Category.LATE
    hint = "Repeat the request, or omit after= to read what is known now."


class ProjectionBusy(Refusal):
    """Run {id} is under way, and only one may run at a time."""

    code = "projection-busy"
    category = Category.CONFLICT
    hint = "Repeat the request when the run has ended."


class TooManyWebhooks(Refusal):
    """There are {most} webhooks already, which is the limit."""

    code = "too-many-webhooks"
    category = Category.CONFLICT
    hint = "Delete one, or raise webhooks.most."


class TooLargeForAFile(Refusal):
    """The history of everything that {about} touched exceeds {most}, the most that one file holds."""

    code = "too-large-for-a-file"
    category = Category.INVALID
    hint = "Name an earlier moment as until, or read the history in pages."


class ReplayTooLong(Refusal):
    """The replay of the past took longer than {seconds} s."""

    code = "replay-too-long"
    category = Category.INVALID
    hint = "An operator may raise api.replay_timeout; a replay reads the log from its beginning."


class NoHostYet(Refusal):
    """Instance {id} is {status} and has no host that could answer."""

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
    """GoStack itself failed to answer the request. The API's log has the error as incident {incident}."""

    code = "broken"
    category = Category.BROKEN
