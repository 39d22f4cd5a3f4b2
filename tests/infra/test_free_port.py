"""Ports of servers that tests start: clusters that start at the same time listen on theirs only seconds later."""

import json
import subprocess
import sys
from pathlib import Path

ASK = """
import json, random
from infra.local.server import free_port
random.seed(1)
print(json.dumps([free_port() for _ in range(100)]), flush=True)
input()
"""


def _process() -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", ASK]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_port_is_given_to_one_process_and_never_to_a_connection_that_goes_out() -> None:
    with _process() as first, _process() as second:
        found = []
        for each in (first, second):
            assert each.stdout
            found.append(set(json.loads(each.stdout.readline())))
        for each in (first, second):
            each.communicate("\n", timeout=60)
    assert len(found[0]) == len(found[1]) == 100
    assert not found[0] & found[1]
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(found[0] | found[1]) < lowest
