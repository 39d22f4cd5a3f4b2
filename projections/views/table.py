"""Every read model: one file each, one row here."""

from projections.views.catalog import FLAVORS, IMAGES, KEYPAIRS, ZONES
from projections.views.dead import DEAD_VIEW
from projections.views.hosts import HOSTS
from projections.views.instances import INSTANCES
from projections.views.jobs import JOBS_VIEW
from projections.views.migrations import MIGRATIONS
from projections.views.networks import NETWORKS, PORTS
from projections.views.parked import PARKED
from projections.views.tasks import TASKS
from projections.views.verdicts import VERDICTS
from projections.views.view import View
from projections.views.webhooks import WEBHOOKS

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        INSTANCES,
        TASKS,
        JOBS_VIEW,
        HOSTS,
        FLAVORS,
        IMAGES,
        KEYPAIRS,
        NETWORKS,
        PORTS,
        MIGRATIONS,
        ZONES,
        WEBHOOKS,
        PARKED,
        DEAD_VIEW,
        VERDICTS,
    )
}
