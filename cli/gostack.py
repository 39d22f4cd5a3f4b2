"""`gostack` starts each process, and holds the operator's tools. This is the one module that may import every
package."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from cli.terminal import OutputLost, echo, silence
from domain.core.text import printable
from infra.log.log import Log, LogUnavailable
from infra.process import traces
from infra.process.error_text import text_of
from infra.process.logging import set_up
from infra.process.settings import CONFIG_VARIABLE, Settings, SettingWrong, load

if TYPE_CHECKING:
    from api.writes.image_garbage import Unused

Done = TypeVar("Done")

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
topics = typer.Typer(no_args_is_help=True, help="Create the topics of the log.")
database = typer.Typer(no_args_is_help=True, help="Migrate the database, or fill it from the log.")
projection = typer.Typer(
    no_args_is_help=True, help="Rebuild the read models, or go back to the previous ones, in this process."
)
images = typer.Typer(no_args_is_help=True, help="Delete bytes of images that nothing refers to.")
app.add_typer(images, name="images")
app.add_typer(projection, name="projection")
app.add_typer(topics, name="topics")
app.add_typer(database, name="db")


TOOL = "gostack"
PROCESSES = {"api", "engine", "scheduler", "timers", "projector", "webhooks", "agent"}


REASSIGNMENT = Path("reassignment.json")
THROTTLE = 50_000_000
"""Bytes a second that brokers may copy among themselves beside their work, as it is proposed."""
UNREACHED = 4
"""Exit status of a tool whose settings cannot be used, or name a log or a database that cannot be reached."""


def _settings(process: str = TOOL) -> Settings:
    try:
        settings = load()
    except (SettingWrong, ValidationError) as error:
        if process != TOOL:
            raise
        _give_up(error)
    set_up(process, settings.log.format, settings.log.level)
    if process != TOOL:
        traces.set_up(process, settings.traces.endpoint, settings.traces.sample)
    return settings


def _give_up(error: Exception) -> NoReturn:
    wrong = error.errors(include_url=False) if isinstance(error, ValidationError) else []
    problems = "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}" for each in wrong
    ) or text_of(error)
    _say(f"Error: {' '.join(problems.split())}", err=True)
    _say(
        f"Hint: settings come from the environment and from the file that {CONFIG_VARIABLE} names"
        f" ({os.environ.get(CONFIG_VARIABLE) or 'it names none'}); that of `make demo` is .gostack/config.toml.",
        err=True,
    )
    raise SystemExit(UNREACHED) from error


def _refuse(error: Exception) -> NoReturn:
    _say(f"Error: {text_of(error)}", err=True)
    raise typer.Exit(1) from error


def _say(text: str, err: bool = False) -> None:
    """Print lines, with whatever would control the terminal escaped: names are users' own."""
    for line in text.split("\n"):
        echo(line, err)


def _run(coroutine: Any) -> None:
    import uvloop

    from infra.process.garbage_collector import tune_garbage_collector

    tune_garbage_collector()
    uvloop.run(coroutine)


@app.command()
def api() -> None:
    """Run the REST API."""
    from api.serve import serve

    _run(serve(_settings("api")))


@app.command()
def engine() -> None:
    """Run the engine, which decides for instances, networks and all other kinds but hosts and zones."""
    from commands.compose import engine as run

    run(_settings("engine"))


@app.command()
def scheduler() -> None:
    """Run the scheduler, which decides for the hosts and zones of its cells."""
    from commands.compose import scheduler as run

    run(_settings("scheduler"))


@app.command()
def timers() -> None:
    """Run the deadlines, and the monitor of hosts' heartbeats."""
    from commands.compose import timers as run

    _run(run(_settings("timers")))


@app.command()
def webhooks() -> None:
    """Run the delivery of events to users' own endpoints."""
    from commands.compose import webhooks as run

    _run(run(_settings("webhooks")))


@app.command()
def projector() -> None:
    """Run the projector, which makes the read models from events."""
    from projections.compose import projector as run

    _run(run(_settings("projector")))


@app.command()
def agent() -> None:
    """Run the agent of a host, or of many simulated hosts."""
    from agent.compose import agent as run
    from agent.compose import prepare

    settings = _settings("agent")
    prepare(settings)
    _run(run(settings))


@app.command()
def check(
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for records and events that are still on their way.")
    ] = 10.0,
) -> None:
    """Compare the log with all that follows from it, and with what the hosts run.

    Exits 1 where something differs, 3 where nothing does but not all had come to rest, 4 where log or database could
    not be read.
    """
    from cli.check import INVARIANTS, check_deployment

    report = asyncio.run(check_deployment(_settings(), patience))
    folded = report.seen.folded
    _say(
        f"{folded.events} events, {len(folded.states)} aggregates, {len(report.seen.decided)} commands, "
        f"{folded.repeated} repeated and {report.seen.dead} dead records to be dealt with"
    )
    if report.seen.durability:
        _say(f"the log: {report.seen.durability}")
    for invariant in INVARIANTS:
        problems = report.problems[invariant.__name__]
        _say(f"{'ok  ' if not problems else 'FAIL'} {invariant.__name__}: {invariant.__doc__}")
        for problem in problems:
            _say(f"     {printable(problem)}")
    if report.moving:
        _say(f"still on its way: {report.moving}")
    raise typer.Exit(1 if report.lines else 3 if report.moving else 0)


@app.command()
def archive(
    directory: Annotated[Path, typer.Argument(help="Directory of the archive; created where it is missing.")],
    check: Annotated[bool, typer.Option("--check", help="Only read the archive and compare its checksums.")] = False,
) -> None:
    """Copy every record of the log that is not in the archive yet into it.

    The command can be stopped and run again at any time, beside everything else. It exits 1 where retention removed
    records before they were archived; all others are in the archive then.
    """
    from infra.archive import manifest as of
    from infra.archive.archive import archive
    from infra.archive.errors import ArchiveError
    from infra.archive.lock import archive_lock

    settings = _settings()
    try:
        if check:
            with archive_lock(directory):
                manifest = of.load(directory)
                problems = [str(each) for each in manifest.problems()]
            files = [segment for segments in manifest.segments.values() for segment in segments]
            for problem in problems:
                _say(problem, err=True)
            _say(
                f"{sum(each.records for each in files)} records in {len(files)} segments, "
                f"{sum(each.bytes for each in files)} bytes; {len(problems)} damaged"
            )
            raise typer.Exit(1 if problems else 0)
        # It holds everything that anybody ever asked for.
        os.umask(0o077)
        done = asyncio.run(_with_log(settings, lambda log: archive(log, directory, _progress)))
    except (ArchiveError, OSError) as error:
        _refuse(error)
    for line in done.lost:
        _say(line, err=True)
    _say(f"{done.records} records were added, {done.segments} segments were written")
    raise typer.Exit(1 if done.lost else 0)


@app.command()
def restore(directory: Annotated[Path, typer.Argument(help="Directory of the archive.")]) -> None:
    """Fill an empty Kafka from an archive: the same records at the same positions.

    Stop all processes first. A restore that was interrupted goes on where it stopped when it is run again.
    """
    from infra.archive.errors import ArchiveError
    from infra.archive.restore import RestoreResult, restore
    from infra.log.topics import PartitionCountDiffers, ReplicasImpossible, apply

    settings = _settings()

    async def run(log: Log) -> RestoreResult:
        await apply(settings.log.bootstrap)
        return await restore(log, directory, _progress)

    try:
        done = asyncio.run(_with_log(settings, run))
    except (ArchiveError, OSError, PartitionCountDiffers, ReplicasImpossible) as error:
        _refuse(error)
    _say(
        f"{done.records} records were restored, {done.found} positions were there; "
        f"{done.fillers} are held by fillers where the archived log had no record"
    )


def _progress(line: str) -> None:
    _say(line, err=True)


async def _with_log(settings: Settings, work: Callable[[Log], Awaitable[Done]]) -> Done:
    from infra.log.kafka import KafkaLog

    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    try:
        return await work(log)
    finally:
        await log.close()


@images.command("gc")
def images_gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what nothing refers to.")] = False,
) -> None:
    """Delete bytes of images that nothing refers to, once that has been so for images.unused_keep seconds.

    The API does so by itself. Exits 1 where the read models are behind, and what refers to them is not known.
    """
    from api.serve import NotReady, collect_images, made
    from domain.core.errors import NotSupportedYet

    settings = _settings()

    async def run() -> "list[Unused]":
        async with made(settings, settings.secrets.agent_token()) as services:
            return await collect_images(services, dry_run=dry_run)

    try:
        found = asyncio.run(run())
    except (NotReady, NotSupportedYet, OSError) as error:
        _refuse(error)
    done = "goes" if dry_run else "deleted"
    for each in found:
        state = done if each.goes else f"kept, unused for {each.seconds:.0f} s"
        _say(f"{each.checksum} {each.size} bytes: {state}")
    going = [each for each in found if each.goes]
    _say(f"{len(found)} files are unused; {len(going)}, of {sum(each.size for each in going)} bytes: {done}")


@projection.command("rebuild")
def projection_rebuild() -> None:
    """Make all read models anew beside those that serve, and put them in their place."""
    from projections.maintenance.rebuild import RebuildRunning, rebuild

    settings = _settings()
    began = time.monotonic()

    async def report(done: int, total: int) -> None:
        seconds = time.monotonic() - began
        left = f", {(total - done) * seconds / done:.0f} s to go" if 0 < done < total else ""
        _say(f"{done} of {total} events in {seconds:.0f} s{left}", err=True)

    try:
        events = asyncio.run(rebuild(settings.log.bootstrap, settings.db.dsn, report, report_phase=_progress))
    except RebuildRunning as error:
        _refuse(error)
    _say(f"rebuilt from {events} events in {time.monotonic() - began:.0f} s")


@projection.command("rollback")
def projection_rollback() -> None:
    """Let the read models before the last rebuild serve again, brought up to date."""
    from projections.maintenance.rebuild import NoPrevious, RebuildRunning, rollback

    settings = _settings()
    try:
        asyncio.run(rollback(settings.log.bootstrap, settings.db.dsn, _progress))
    except (NoPrevious, RebuildRunning) as error:
        _refuse(error)
    _say("the read models before the last rebuild serve again")


@topics.command("apply")
def topics_apply(
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Replicas of each partition; new topics are like the others unless given.")
    ] = None,
    min_insync: Annotated[
        int | None,
        typer.Option(min=1, help="Replicas that must have a record; more than half of --replicas unless given."),
    ] = None,
    plan: Annotated[
        Path, typer.Option(help="File for the plan by which existing topics get other replicas.")
    ] = REASSIGNMENT,
) -> None:
    """Create or change the topics as they are declared, also after a restore that was given up. A partition count is
    never changed: the command refuses.

    Replicas of existing topics are made by Kafka's own tool, for which a plan is written. Exits 3 where there is one.
    """
    from infra.log.reassignment import as_json
    from infra.log.topics import PartitionCountDiffers, ReplicasImpossible, apply

    settings = _settings()
    try:
        done = asyncio.run(apply(settings.log.bootstrap, replicas, min_insync))
    except (PartitionCountDiffers, ReplicasImpossible) as error:
        _refuse(error)
    for line in done.lines:
        _say(line)
    _say(f"the log: {done.durability}")
    if not done.plan:
        return
    try:
        plan.write_text(as_json(done.plan))
    except OSError as error:
        _refuse(error)
    tool = f"kafka-reassign-partitions.sh --bootstrap-server {settings.log.bootstrap} --reassignment-json-file {plan}"
    _say(
        f"{len(done.plan)} partitions have another number of replicas. Kafka's own tool gives them others, while all "
        "runs; run the second line until it says that all are complete, then this command once more:\n"
        f"  {tool} --execute --throttle {THROTTLE}\n"
        f"  {tool} --verify"
    )
    raise typer.Exit(3)


@database.command("migrate")
def database_migrate(
    dsn: Annotated[str, typer.Option(help="Address of the database, instead of the one in the settings.")] = "",
) -> None:
    """Bring the database to this release's schema."""
    from infra.db.migrate import migrate
    from projections.store.schema import create_tables

    target = dsn or _settings().db.dsn
    for name in migrate(target):
        _say(f"applied {name}")
    create_tables(target)
    _say("the database is at this release's schema")


@database.command("refill")
def database_refill() -> None:
    """Fill an empty, migrated database from the log. Stop engine, scheduler and timers first.

    Secrets of boots that have not ended are not on the log, and stay lost.
    """
    from cli.check import refill_database
    from commands.recovery.from_log import DatabaseNotEmpty, LogIncomplete

    try:
        done = asyncio.run(refill_database(_settings()))
    except (DatabaseNotEmpty, LogIncomplete) as error:
        _refuse(error)
    _say(
        f"{done.aggregates} aggregates, {done.parked} of them parked, from {done.events} events; "
        f"{done.undecided} records are still to be decided"
    )
    for ident in done.halves:
        _say(f"instance {ident}: the last decision is on the log in part, its task has no deadline", err=True)


def main() -> None:
    """Run the command line; exit 4 where a tool cannot reach the log or the database."""
    try:
        app()
    except Exception as error:
        import psycopg
        from aiokafka.errors import KafkaError

        from infra.db.write_store import WriteStoreUnavailable
        from projections.store.port import StoreUnavailable

        # A process tells its log of it, with all that led there, and whoever keeps it starts it again.
        unreached = isinstance(error, SettingWrong | LogUnavailable | WriteStoreUnavailable | StoreUnavailable)
        # So are those after which one tries again: a broker that is gone, or has not been told of the others.
        unreached |= isinstance(error, TimeoutError) or (isinstance(error, KafkaError) and error.retriable)
        # What the server itself refused, a deadlock or a full disk, has a state, and is not for want of a connection.
        unreached |= isinstance(error, psycopg.OperationalError) and error.sqlstate is None
        if unreached and sys.argv[1] not in PROCESSES:
            _give_up(error)
        if isinstance(error, OutputLost):
            echo(f"Error: The answer cannot be printed: {error}.", err=True)
            silence()
            raise SystemExit(1) from error
        raise


if __name__ == "__main__":
    main()
