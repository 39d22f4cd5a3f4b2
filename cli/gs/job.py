"""gs job: steps of tasks, as they were sent to hosts, to the scheduler and to networks."""

import typer

from cli.gs.resources import JOB
from cli.gs.standard import add_list, add_show

app = typer.Typer()

add_list(app, JOB)
add_show(app, JOB)
