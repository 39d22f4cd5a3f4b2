"""The lifecycle table: one file a verb, one row here."""

from domain.instance.action import InstanceAction
from domain.instance.actions.lifecycle.boot import BOOT
from domain.instance.actions.lifecycle.delete import DELETE, HARD_DELETE
from domain.instance.actions.lifecycle.reset import RESET
from domain.instance.actions.lifecycle.restore import RESTORE
from domain.instance.actions.power.reboot import HARD_REBOOT, REBOOT
from domain.instance.actions.power.start import START
from domain.instance.actions.power.stop import STOP

ACTIONS: dict[str, InstanceAction] = {
    action.name: action for action in (BOOT, START, STOP, REBOOT, HARD_REBOOT, DELETE, HARD_DELETE, RESTORE, RESET)
}
