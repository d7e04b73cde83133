"""What is left of a search that failed: the trials that it had made."""

from __future__ import annotations

import json
import os

import msgspec

from autobatch._version import __version__
from autobatch.errors import AutobatchError
from autobatch.records import Settings
from autobatch.reporting.document import SCHEMA_VERSION, trial_to_dict, without_nonfinite
from autobatch.reporting.files import check_writable, write_atomically


def save_partial(
    error: AutobatchError,
    path: str | os.PathLike[str],
    overwrite: bool,
    *,
    target: str,
    settings: Settings,
) -> None:
    """Write the trials that an error carries, and the error, to a file.

    The document has no recommendation: ``show`` says of it what went wrong.

    Raises:
        SettingsError: If it cannot be written.
    """
    check_writable(path, overwrite)
    document = {
        "schema_version": SCHEMA_VERSION,
        "autobatch_version": __version__,
        "target": target,
        "error": {"kind": type(error).__name__, "message": str(error), "hint": error.hint},
        "trials": [trial_to_dict(trial) for trial in error.trials],
        "settings": msgspec.to_builtins(settings),
    }
    text = json.dumps(without_nonfinite(document), indent=2, allow_nan=False) + "\n"
    write_atomically(path, text.encode("utf-8"))
