"""What a command does not need, it does not wait for."""

import subprocess
import sys


def loaded(program: str) -> set[str]:
    """Modules that are imported once a program has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {*done.stdout.split()}


def test_importing_the_readers_imports_no_format() -> None:
    modules = loaded("from unshuffle.files import read_pile, read_records")
    assert "numpy" in modules
    assert modules.isdisjoint({"pyarrow", "safetensors", "torch", "zipfile"})


def test_who_names_files_waits_for_no_reader() -> None:
    modules = loaded("from unshuffle.errors import shown; from unshuffle.files import check_free")
    assert modules.isdisjoint({"numpy", "unshuffle.files.pile_reader"})
