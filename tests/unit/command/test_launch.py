"""Where a run of a command keeps what is its own."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from autobatch.command.launch import make_folder


@pytest.mark.parametrize("num_characters", [1, 31, 60, 150])
def test_a_socket_fits_into_the_folder_however_long_the_temporary_one_is_named(
    num_characters: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        temporary = Path(root) / ("x" * num_characters)
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        folder = make_folder()
        inner = folder / "tmp" / "pymp-12345678"
        inner.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(inner / "listener-12345678"))
        assert os.stat(folder).st_mode & 0o077 == 0
        assert (folder.parent == temporary) == (len(str(temporary)) <= 48)
