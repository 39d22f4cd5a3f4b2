"""`python -m infra.local COMMAND`: the local cluster from the command line; `make` calls this."""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from infra.local import checks
from infra.local.cluster import Cluster, Options
from infra.local.containers import run_beside_docker
from infra.local.demo import build_image, demo
from infra.local.layout import Layout
from infra.local.probes import API_PORT
from infra.local.process import Failure, tail
from infra.local.progress import ProgressLine, say, warn
from infra.local.setup import CEPH, setup, system_packages

COMMANDS = {
    "setup": "install what is missing and make the project's environment",
    "up": "start the cluster",
    "down": "stop it, guests too",
    "status": "what runs",
    "logs": "what it said",
    "clean": "stop it and forget its data",
    "demo": "start it and boot a guest",
    "containers": "run a command where Docker has the images that tests ask for",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command on the command line, and return the exit status of the process."""
    chosen = _parse(arguments)
    os.umask(0o022)
    # Where a plain `su` made us root, these are not searched.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    layout = Layout()
    try:
        _do(chosen, layout, ProgressLine())
    except Failure as failure:
        warn(f"\n{failure.part} failed: {failure.reason}")
        if failure.log and (last := tail(failure.log)):
            warn(f"\nThe last lines of {failure.log}:\n{last}")
        return 1
    except KeyboardInterrupt:
        warn("\nInterrupted. `make down` stops what has been started.")
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description="GoStack on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, description in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        if name in ("up", "demo"):
            command.add_argument("--hosts", type=int, help="how many (default 2, or as last time)")
            command.add_argument("--simulated", action="store_true", help="hosts without guests: no root needed")
            command.add_argument("--subnet", help="of the bridge that joins the hosts")
            command.add_argument("--ceph", action="store_true", help="a Ceph, too (or as last time)")
        if name == "logs":
            command.add_argument("part", nargs="?", help="one part, as `status` names it")
            command.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
        if name == "clean":
            command.add_argument("--all", action="store_true", help="what was fetched and built, too")
        if name == "containers":
            command.add_argument("line", nargs=argparse.REMAINDER, help="the command to run")
    return parser.parse_args(arguments)


def _do(chosen: argparse.Namespace, layout: Layout, progress: ProgressLine) -> None:
    match chosen.command:
        case "setup":
            setup(layout, progress)
        case "up" | "demo":
            _bring_up(chosen, layout, progress)
        case "down":
            Cluster(layout, Options.of(layout)).down(progress)
        case "clean":
            Cluster(layout, Options.of(layout)).clean(progress, chosen.all)
        case "status":
            say(Cluster(layout, Options.of(layout)).status())
        case "logs":
            _logs(chosen, Cluster(layout, Options.of(layout)))
        case "containers":
            run_beside_docker(chosen.line, layout, progress)


def _logs(chosen: argparse.Namespace, cluster: Cluster) -> None:
    if chosen.part and chosen.follow:
        command = ["tail", "-n", "100", "-F", str(cluster.log_of(chosen.part))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as following:
            assert following.stdout is not None
            for line in following.stdout:
                say(line.removesuffix("\n"))
    else:
        say(cluster.logs(chosen.part))


def _bring_up(chosen: argparse.Namespace, layout: Layout, progress: ProgressLine) -> None:
    with progress.phase("setup"):
        setup(layout, progress)
    cluster = Cluster(layout, _options(chosen, layout))
    if cluster.options.ceph:
        with progress.phase("ceph"):
            system_packages(progress, CEPH)
    if chosen.command == "demo":
        with progress.phase("image"), progress.part("guest image"):
            build_image(layout, cluster.options.simulated)
    with progress.phase("up"):
        cluster.up(progress)
    if chosen.command == "demo":
        demo(cluster, progress)
    say(f"\n{progress.summary()}")
    if chosen.command == "up":
        say(f"\nGoStack runs: http://127.0.0.1:{API_PORT} — try {Path('.venv/bin/gs')} host list, or `make status`.")


def _options(chosen: argparse.Namespace, layout: Layout) -> Options:
    """Return the options of the command line, else those of the last time, and print whether hosts are real or why
    not."""
    options = Options.of(layout)
    options = replace(
        options,
        hosts=chosen.hosts or options.hosts,
        subnet=chosen.subnet or options.subnet,
        simulated=chosen.simulated,
        ceph=chosen.ceph or options.ceph,
    )
    if options.simulated:
        say(f"Hosts: {options.hosts}, simulated, as asked.")
    elif reason := checks.why_not_real_hosts():
        options = replace(options, simulated=True)
        say(f"Hosts: {options.hosts}, simulated, since {reason}.")
    elif checks.kvm_works():
        say(f"Hosts: {options.hosts}; guests run with hardware virtualization (KVM).")
    else:
        say(f"Hosts: {options.hosts}; guests are emulated (TCG): KVM is not there, or does not carry a guest.")
    return options


if __name__ == "__main__":
    sys.exit(main())
