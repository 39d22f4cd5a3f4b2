"""What a host's agent does, a handler a job.

Why a table written out: what a host can do is read here, and a test holds it against the jobs there are.
"""

from typing import Any

from agent.jobs.disk import create_disk, delete_disk, write_config_drive
from agent.jobs.guest import define_guest, reboot_guest, start_guest, stop_guest, undefine_guest
from agent.jobs.handler import Context, Handler, handles
from agent.jobs.image import prepare_image
from agent.jobs.network import plug_ports, unplug_ports
from domain.tasks.job import Job

HANDLERS: dict[type[Job], Handler[Any]] = {
    handler.job: handler
    for handler in (
        prepare_image,
        create_disk,
        delete_disk,
        write_config_drive,
        plug_ports,
        unplug_ports,
        define_guest,
        undefine_guest,
        start_guest,
        stop_guest,
        reboot_guest,
    )
}

__all__ = ["HANDLERS", "Context", "Handler", "handles"]
