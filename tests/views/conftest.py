"""Solutions to show, and a terminal to show them on."""

import os
import select
import subprocess
import sys

import numpy as np
import pytest

from unshuffle import solve


@pytest.fixture(scope="session")
def solved(make_dropped):
    """A dropped network and its solution."""
    case = make_dropped(np.random.default_rng(3), blocks=5, width=16, hidden=24)
    return case, solve(case.pile, case.records)


@pytest.fixture(scope="session")
def solved_module():
    """The solution of a dropped module: gated blocks, of which several roles share axes."""
    pytest.importorskip("torch")
    from unshuffle import blueprint
    from unshuffle.oracle.module_dropping import drop_module, emptied
    from unshuffle.oracle.recipe import find_recipe
    from unshuffle.oracle.training import train

    oracle, rng = train(find_recipe("module-tiny-gated")), np.random.default_rng(3)
    rows = {"rows": oracle.examples.inputs[:24]}
    dropped = drop_module(oracle.network, rows, level="layers", rng=rng)
    return solve(dropped.pile(), dropped.records, blueprint=blueprint(emptied(oracle.network, rng)))


@pytest.fixture
def on_terminal():
    """Run the command line on a terminal of some width; returns the status and all it wrote."""
    pty = pytest.importorskip("pty")

    def run(*args, columns=80, lines=24, **environment):
        ours, theirs = pty.openpty()
        names = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        with subprocess.Popen(
            [sys.executable, "-m", "unshuffle", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**kept, **names, **environment},
        ) as process:
            os.close(theirs)
            written = b""
            while select.select([ours], [], [], 120)[0]:
                try:
                    part = os.read(ours, 65536)
                except OSError:  # how Linux says that the other end is closed
                    break
                if not part:
                    break
                written += part
        os.close(ours)
        return process.returncode, written.decode()

    return run
