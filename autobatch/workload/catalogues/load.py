"""From a catalogue target to what is trained."""

from __future__ import annotations

from autobatch.errors import AutobatchError, WorkloadError, message_of
from autobatch.records import Settings
from autobatch.workload.batches import RepeatedSource
from autobatch.workload.catalogues.entry import Entry
from autobatch.workload.catalogues.require import LIBRARIES
from autobatch.workload.contract import Workload
from autobatch.workload.files import Target


def load_entry(target: Target, settings: Settings) -> tuple[Workload, RepeatedSource, list[str]]:
    """Make the model that a target names, and batches for it.

    Returns:
        The workload, where its batches come from, and a sentence for each guess.

    Raises:
        WorkloadError: If the catalogue has no such model, or it cannot be made.
        SettingsError: If a value does not go with it.
    """
    try:
        entry = _load(target, settings)
    except AutobatchError:
        raise
    except (ImportError, RuntimeError) as error:
        library = LIBRARIES[target.catalogue]
        raise WorkloadError(
            f"target {target.text!r}: {library} cannot be used: {type(error).__name__}: "
            f"{message_of(error)}",
            hint=f"try python -c 'import {library}'; torchvision must be the build for your "
            "PyTorch",
        ) from error
    source = RepeatedSource(entry.make_batch, entry.data)
    workload = Workload(model=entry.model, batch=entry.make_batch, loss=entry.loss)
    return workload, source, list(entry.guesses)


def _load(target: Target, settings: Settings) -> Entry:
    if target.catalogue == "hf":
        from autobatch.workload.catalogues.hugging_face import load_hugging_face

        return load_hugging_face(target, settings)
    from autobatch.workload.catalogues.images import load_timm, load_torchvision

    load = load_timm if target.catalogue == "timm" else load_torchvision
    return load(target, settings)
