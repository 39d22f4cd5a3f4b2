"""Secrets that were made for a request, and that its answer tells: a password, a private key, a webhook's secret.

Why they are kept for a day: whoever did not get the answer asks again by the same Idempotency-Key, and what was made is
useless to who does not have it. They are kept as all secrets are, encrypted and apart from the log.
"""

from datetime import timedelta

from api.http.request_context import RequestContext
from api.services import Services
from domain.core.messages import derived_id

KEPT_FOR = timedelta(days=1)


async def tell(services: Services, context: RequestContext, made: str) -> str:
    """Return the secret that the answer to this request tells: the one that was made for it first.

    Raises SecretsUnavailable."""
    if not context.keyed:
        return made
    return await services.secrets.put(_ref(context), context.command_id, made, KEPT_FOR) or made


async def told(services: Services, context: RequestContext) -> str:
    """Return the secret that an earlier answer to this request told; empty if there was none, or it is too long ago.

    Raises SecretsUnavailable."""
    return (await services.secrets.get(_ref(context)) if context.keyed else None) or ""


def _ref(context: RequestContext) -> str:
    return derived_id(context.command_id, "told")
