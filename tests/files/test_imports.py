"""What a command does not need, it does not wait for."""

import subprocess
import sys


def test_importing_the_readers_imports_no_format() -> None:
    program = "import sys, unshuffle.files; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert loaded.isdisjoint({"pyarrow", "safetensors", "torch"})
