"""What was exported is what is given: tests that begin where an incident ended.

Write one down with `gs event export --task ID --file tests/incidents/NAME.json`.
"""

from domain.core.errors import NeverRan
from domain.host.state import Host
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.state import VmState
from domain.network.state import Network
from tests.domain.instances import Scenario
from tests.harness.incident import Incident


def test_a_boot_that_failed_left_nothing_behind() -> None:
    incident = Incident.kept("boot-failed")
    web = Scenario.given(incident)
    assert web.now is not None
    assert (web.status, web.now.fault and web.now.fault.code) == ("error", "simulated-failure")
    states = incident.states()
    (host,) = (state for state in states.values() if isinstance(state, Host))
    (network,) = (state for state in states.values() if isinstance(state, Network))
    assert not host.claims
    assert not network.ports


def test_after_a_boot_that_failed_only_a_delete_goes() -> None:
    web = Scenario.given(Incident.kept("boot-failed"))
    web.refused(StartInstance(), NeverRan)
    web.send(DeleteInstance()).settle()
    assert web.now is not None
    assert web.now.vm_state is VmState.SOFT_DELETED
