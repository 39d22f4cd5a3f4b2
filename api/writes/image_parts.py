"""The parts of the API that work on the bytes of images, made together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from api.writes.image_fetch import ImageFetcher
from api.writes.image_staging import ImageStaging
from api.writes.image_store import ImageStore
from api.writes.image_worker import ImageWorker
from infra.log.log import Log
from infra.process.settings import Settings
from projections.store.port import Store


@dataclass(frozen=True)
class ImageParts:
    """The parts of the API that have to do with images."""

    store: ImageStore
    staging: ImageStaging
    fetcher: ImageFetcher
    worker: ImageWorker

    @classmethod
    def of(cls, settings: Settings, log: Log, read_models: Store, clock: Callable[[], datetime]) -> "ImageParts":
        """Make the parts by the settings; the worker is not begun."""
        store = ImageStore(settings.images)
        staging = ImageStaging(store)
        fetcher = ImageFetcher(allow_private=settings.images.allow_private, own_ports=settings.own_ports)
        return cls(store, staging, fetcher, ImageWorker(log, read_models, staging, fetcher, settings.images, clock))
