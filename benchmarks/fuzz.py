"""Fuzz every reader, guided by coverage: no crash, no hang, no memory, nothing executed.

    python benchmarks/fuzz.py [READER …] [--runs N] [--seed S]

Needs atheris, which drives libFuzzer: pip install --group fuzz. Each reader has a process of its
own. Mutants come from sound files, byte by byte and, every second one, in what lies behind a
checksum: a member of a zip, the text in a gzip. A reader may return, or raise an `UnshuffleError`
on one printable line. It fails on anything else: another exception, a crash of the process, more
than a second of CPU time, more than 256 MB on top of what it takes to begin with, a program or a
connection started, a file opened that is not its own.
"""

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from time import process_time
from typing import TYPE_CHECKING

import unshuffle

if TYPE_CHECKING:
    import targets

CRASHES = Path("build", "fuzz")
"""Where files are kept on which a reader failed."""

SECONDS, MEGABYTES = 1.0, 256

HANGING = 20.0
"""Seconds of CPU time after which a process is ended that does not come back from a file."""

FORBIDDEN = ("os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.find_class", "socket.")
FORBIDDEN += ("subprocess.Popen", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir")
"""Audit events, by their beginnings, that no reader has any business to raise."""


def main() -> int:
    """Fuzz the readers one by one; 1 if any fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--runs", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("fuzz.py needs atheris, which is not installed: pip install --group fuzz")
    if args.inside:
        fuzz(args.readers[0], args.runs, args.seed, Path(args.inside))
    with tempfile.TemporaryDirectory() as folder:
        import targets

        known = targets.make_targets(Path(folder))
    failed = []
    print(f"{'reader':<30} {'files':>6} {'read':>6} {'slowest':>8} {'memory':>8} {'branches':>8}")
    for name in args.readers or known:
        if name not in known:
            sys.exit(f"there is no reader {name!r}; there are: {', '.join(known)}")
        with tempfile.TemporaryDirectory() as folder:
            options = ("--runs", str(args.runs), "--seed", str(args.seed), "--inside", folder)
            found = subprocess.run(
                [sys.executable, __file__, name, *options], capture_output=True, check=False
            )
            guided = re.findall(rb"cov: ([0-9]+)", found.stderr)
            branches = guided[-1].decode() if guided else "?"
            line = found.stdout.decode().strip() or f"{name:<30} died"
            print(f"{line} {branches:>8}", flush=True)
            if found.returncode:
                failed.append(name)
                said = found.stderr.decode("utf-8", "backslashreplace")
                print(said[said.find("Traceback") :][:3000])
                CRASHES.mkdir(parents=True, exist_ok=True)
                kept = CRASHES / f"{name.replace('/', '-')}-{Path(known[name].name).name}"
                kept.write_bytes((Path(folder) / known[name].name).read_bytes())
                print(f"the file is kept as {kept}")
    print(f"failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def fuzz(name: str, runs: int, seed: int, folder: Path) -> None:
    """Fuzz one reader in this process, and end it."""
    import atheris

    with atheris.instrument_imports(include=["unshuffle"]):
        import targets
    from unshuffle.errors import UnshuffleError

    target = targets.make_targets(folder)[name]
    path, corpus = folder / target.name, folder / "corpus"
    lay_corpus(target, path, corpus)
    guard = Guard(folder)
    done = returned = 0

    def one(content: bytes) -> None:
        nonlocal done, returned
        path.write_bytes(content)
        said = ""
        with guard:
            try:
                target.read(path)
                returned += 1
            except UnshuffleError as error:
                said = str(error)
        assert not said or said.isprintable(), said
        guard.check()
        done += 1
        if done == runs:
            figures = f"{returned:>6} {guard.slowest:>6.2f} s {guard.megabytes:>5} MB"
            print(f"{name:<30} {done:>6} {figures}", flush=True)
            os._exit(0)  # the fuzzer's own end would count the files on which its corpus was made

    options = [f"-runs={10 * runs}", f"-seed={seed}", "-timeout=99999", "-rss_limit_mb=0"]
    options += ["-max_len=65536", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutate)
    atheris.Fuzz()


def mutate(content: bytes, most: int, number: int) -> bytes:
    """Change a file, or one of the parts that lie behind a checksum in it."""
    import atheris

    import targets

    random = Random(number)
    found = targets.inner(content, random.randrange(99)) if random.random() < 0.5 else None
    if found is None:
        mutant: bytes = atheris.Mutate(content, most)
        return mutant
    part, repack = found
    return repack(atheris.Mutate(part, max(most, 2 * len(part))))[:most]


def lay_corpus(target: "targets.Target", path: Path, corpus: Path) -> None:
    """Write what the fuzzer begins from, and read it once: what that imports is there then."""
    from unshuffle.errors import UnshuffleError

    corpus.mkdir()
    for number, content in enumerate([*target.sound, b"nothing of the kind"]):
        (corpus / str(number)).write_bytes(content)
        path.write_bytes(content)
        with suppress(UnshuffleError):
            target.read(path)


class Guard:
    """Watches what a reader does while it is entered.

    Parameters
    ----------
    folder
        Where files may be read, beside those of Python and of the package.
    """

    def __init__(self, folder: Path) -> None:
        package = str(Path(unshuffle.__file__).parent)
        self.allowed = (str(folder), package, sys.prefix, sys.base_prefix)
        self.watching = False
        self.seen: list[str] = []
        self.began = self.slowest = 0.0
        self.before = _peak_megabytes()
        sys.addaudithook(self._hear)

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, HANGING)  # whose signal ends the process
        self.began, self.watching = process_time(), True

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.watching = False
        self.slowest = max(self.slowest, process_time() - self.began)

    @property
    def megabytes(self) -> int:
        """What the most memory so far is above that of the beginning."""
        return _peak_megabytes() - self.before

    def check(self) -> None:
        """Fail on what no reader may do."""
        assert self.slowest < SECONDS, f"took {self.slowest:.1f} s"
        assert self.megabytes < MEGABYTES, f"took {self.megabytes} MB"
        assert not self.seen, self.seen

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            file, mode, _ = arguments
            if mode in (None, "r", "rb") and str(file).startswith(self.allowed):
                return
        elif not event.startswith(FORBIDDEN):
            return
        self.seen.append(f"{event} {arguments}"[:200])


def _peak_megabytes() -> int:
    """The most memory that this process had at any time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
