"""Every read model: one file each, one row here."""

from projections.catalog import FLAVORS, IMAGES, KEYPAIRS, ZONES
from projections.dead import DEAD_VIEW
from projections.hosts import HOSTS
from projections.instances import INSTANCES
from projections.jobs import JOBS_VIEW
from projections.networks import NETWORKS, PORTS
from projections.parked import PARKED
from projections.tasks import TASKS
from projections.verdicts import VERDICTS
from projections.view import View
from projections.webhooks import WEBHOOKS

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
        ZONES,
        WEBHOOKS,
        PARKED,
        DEAD_VIEW,
        VERDICTS,
    )
}
