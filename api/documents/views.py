"""Which document each view has."""

from api.documents.catalog import FlavorDocument, ImageDocument, KeypairDocument
from api.documents.document import Document
from api.documents.hosts import HostDocument, ZoneDocument
from api.documents.instances import InstanceDocument
from api.documents.networks import NetworkDocument, PortDocument
from api.documents.tasks import JobDocument, TaskDocument
from api.documents.webhooks import WebhookDocument

DOCUMENTS: dict[str, type[Document]] = {
    "instances": InstanceDocument,
    "tasks": TaskDocument,
    "jobs": JobDocument,
    "hosts": HostDocument,
    "flavors": FlavorDocument,
    "images": ImageDocument,
    "keypairs": KeypairDocument,
    "networks": NetworkDocument,
    "ports": PortDocument,
    "zones": ZoneDocument,
    "webhooks": WebhookDocument,
}
"""View -> the shape of its documents."""
