"""A result is written whole or not at all, and that it cannot be is known before the search."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autobatch.errors import SettingsError
from autobatch.reporting import document
from autobatch.reporting.files import check_writable, write_atomically


def test_a_saved_finding_is_loaded_alike_and_no_draft_stays(tmp_path, make_finding):
    path = tmp_path / "run.json"
    document.save(make_finding(), path, overwrite=False)
    assert document.load(path) == make_finding()
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_check_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "run.json", overwrite=False)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_is_not_replaced_without_force(tmp_path, make_finding):
    path = tmp_path / "run.json"
    path.write_text("precious")
    for refused in (
        lambda: check_writable(path, overwrite=False),
        lambda: document.save(make_finding(), path, overwrite=False),
    ):
        with pytest.raises(SettingsError, match="exists already") as caught:
            refused()
        assert "--force" in caught.value.hint
    assert path.read_text() == "precious"


def test_with_force_a_file_is_replaced(tmp_path, make_finding):
    path = tmp_path / "run.json"
    path.write_text("old")
    check_writable(path, overwrite=True)
    assert path.read_text() == "old"
    document.save(make_finding(), path, overwrite=True)
    assert document.load(path) == make_finding()


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("nowhere/run.json", "there is no folder"),
        ("", "is a folder"),
        ("a\0b.json", "is not a file name"),
        ("x" * 300, "name too long"),
        ("file/run.json", "there is no folder|not a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_with_a_hint(tmp_path, name, pattern):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(SettingsError, match=pattern) as caught:
        check_writable(f"{tmp_path}/{name}", overwrite=True)
    assert caught.value.hint
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_a_folder_that_takes_no_files_is_refused_even_for_root():
    with pytest.raises(SettingsError, match=r"cannot write /proc/run\.json: "):
        check_writable("/proc/run.json", overwrite=False)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs /dev/null")
def test_a_device_is_never_replaced_by_a_file():
    with pytest.raises(SettingsError, match="not a regular file"):
        check_writable("/dev/null", overwrite=True)


FULL_DISK = """
import resource, sys
from autobatch.errors import SettingsError
from autobatch.reporting.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(sys.argv[1], b"x" * 5000)
except SettingsError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_when_the_disk_is_full_the_old_file_stays_and_no_half_one(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert child.stdout == f"cannot write {path}: file too large\n"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]
