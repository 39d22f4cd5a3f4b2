"""gs job: the steps of tasks, sent to hosts, the scheduler and networks."""

import typer

from cli.gs.resources import JOB
from cli.gs.standard import add_list, add_show

app = typer.Typer()

add_list(app, JOB)
add_show(app, JOB)
