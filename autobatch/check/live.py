"""A workload made of live objects, handed to the measuring process as a file.

Trials run in processes of their own, which load a target by its name. Objects have none: they
are pickled by value (cloudpickle, so that lambdas and what a test defines can be), beside a small
target file that unpickles them.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from autobatch.errors import SettingsError, WorkloadError, message_of

_TARGET = """\
import pickle
import sys

sys.path[:0] = [path for path in {path!r} if path not in sys.path]
with open({pickled!r}, "rb") as stream:
    workload = pickle.load(stream)
"""


@contextmanager
def as_target(workload: Any, *, by_value: ModuleType | None = None) -> Iterator[str]:
    """A target that holds a workload, for as long as the context lasts.

    Args:
        workload: An ``autobatch.Workload``, or a function without arguments that makes one; or
            a target's name, which is passed through.
        by_value: A module that the measuring process cannot import, such as that of a test.

    Raises:
        SettingsError: If cloudpickle is not installed.
        WorkloadError: If the workload holds something that cannot be handed over.
    """
    if isinstance(workload, str):
        yield workload
        return
    content = _pickle(workload, by_value)
    with tempfile.TemporaryDirectory(prefix="autobatch-") as folder:
        pickled, target = Path(folder, "workload.pickle"), Path(folder, "live_workload.py")
        pickled.write_bytes(content)
        search = [path for path in sys.path if path]
        target.write_text(_TARGET.format(path=search, pickled=str(pickled)), encoding="utf-8")
        yield str(target)


def _pickle(workload: Any, by_value: ModuleType | None) -> bytes:
    try:
        import cloudpickle
    except ImportError as error:
        raise SettingsError(
            "live objects need cloudpickle, which is not installed",
            hint="pip install 'torch-autobatch[pytest]', or give the name of a target",
        ) from error
    is_new = by_value is not None and by_value.__name__ not in (
        cloudpickle.list_registry_pickle_by_value()
    )
    if is_new:
        cloudpickle.register_pickle_by_value(by_value)
    try:
        content: bytes = cloudpickle.dumps(workload, protocol=pickle.DEFAULT_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise WorkloadError(
            f"the workload cannot be handed to the measuring process: {message_of(error)}",
            hint="make model and data in functions, or give the name of a target file",
        ) from error
    finally:
        if is_new:
            cloudpickle.unregister_pickle_by_value(by_value)
    return content
