"""The row of instances in the table of kinds."""

from domain.core.times import RANGE_FORMS
from domain.instance.actions import ACTIONS
from domain.instance.evolve import evolve
from domain.instance.state import Instance, VmState
from domain.instance.status import STATUSES
from domain.kind import Kind, ListFilter

KIND = Kind(
    name="instance",
    help="Virtual machines.",
    state=Instance,
    evolve=evolve,
    decider="domain.instance.decider",
    actions=ACTIONS,
    filters=(
        ListFilter("status", "in one of these statuses", several=True, values=tuple(STATUSES), tells_deleted=True),
        ListFilter(
            "vm_state", "with one of these values of vm_state", several=True, values=tuple(VmState), tells_deleted=True
        ),
        ListFilter(
            "flavor_ids", "of one of these flavors (name or id)", several=True, column="flavor_id", refers="flavor"
        ),
        ListFilter("host_id", "on this host (name or id)", refers="host"),
        ListFilter("host_name", "on the host with this name", refers="host", by_name=True),
        ListFilter("image_id", "made of this image (name or id)", refers="image"),
        ListFilter("ip", "with this address", type="text[]", column="ips", form="address"),
        ListFilter("key_name", "with the keypair of this name", refers="keypair", by_name=True),
        ListFilter("user_id", "of this user", column="owner"),
        ListFilter("zone", "that were to be in this zone", refers="zone", by_name=True),
        ListFilter("create_date", f"created between two times: {RANGE_FORMS}", column="created", form="range"),
        ListFilter("update_date", f"changed between two times: {RANGE_FORMS}", column="updated", form="range"),
    ),
)
