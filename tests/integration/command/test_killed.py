"""When autobatch itself is killed, nothing of the command goes on and no file of its run stays."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
PATIENCE_S = 60.0
TOKEN = "AUTOBATCH_TEST_TOKEN"


def wait_until(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def find_marked(token: str) -> list[str]:
    """Command lines of all processes that have inherited a token."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TOKEN) == token:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    # The folders of pytest's workers are too long for the path of a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def search(folder: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A search of a shell script, and the token that all its processes have."""
    token = secrets.token_hex(8)
    command = ["bash", "with_server.sh", "{batch_size=16}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "autobatch", "probe", "-q", "--", *command],
        env={**os.environ, TOKEN: token, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, token
    finally:
        process.kill()
        process.wait()
        # Another test may have had the process of the tests adopt what loses its parent.
        for child in psutil.Process().children():
            with suppress(ChildProcessError, psutil.NoSuchProcess):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def test_sigkill_of_autobatch_leaves_neither_process_nor_folder(
    search: tuple[subprocess.Popen[bytes], str], temporary: Path
) -> None:
    process, token = search
    # The loader's worker is there: the training has begun.
    assert wait_until(lambda: sum("loop.py" in each for each in find_marked(token)) >= 2)
    assert sum(each == "sleep 1000" for each in find_marked(token)) == 2
    assert list(temporary.glob("autobatch-*")) != []
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not find_marked(token)), find_marked(token)
    assert list(temporary.glob("autobatch-*")) == []
