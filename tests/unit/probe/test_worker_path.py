"""A worker imports the package from where its parent has it, and none of its modules by itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import autobatch
from autobatch.probe.worker.process import start_process

ENTRY = (
    "import importlib.util as u, pickle, sys; "
    "found = u.find_spec('autobatch').origin, u.find_spec('tuning') is None; "
    "pickle.dump(found, sys.stdout.buffer)"
)


def test_a_worker_finds_the_package_and_not_its_rooms_as_packages_of_their_own() -> None:
    process = start_process({}, ENTRY)
    with process.stdin, process.stderr, process.stdout as stdout:
        origin, has_no_room = pickle.load(stdout)
    process.wait()
    assert Path(origin).samefile(autobatch.__file__)
    assert has_no_room
