"""``tune()``: the settings that train fastest, for code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autobatch.devices.select import check_device_name
from autobatch.errors import SettingsError
from autobatch.records import Settings
from autobatch.records.options import options_of, read_keywords
from autobatch.shell.streams import is_watched, show_activity
from autobatch.tuning.asked import SHARED_NAMES, TuneSettings
from autobatch.tuning.probers import ObjectsOpener, TargetOpener
from autobatch.tuning.records import Tuning
from autobatch.tuning.session import tune as run

if TYPE_CHECKING:
    import torch


def tune(
    model: torch.nn.Module | str,
    data: Any = None,
    loss: Callable[..., torch.Tensor] | None = None,
    optimizer: Any = None,
    *,
    training_step: Callable[[torch.nn.Module, Any], Any] | None = None,
    optimizer_step: Callable[[torch.nn.Module, torch.optim.Optimizer], Any] | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    isolation: str = "auto",
    **options: Any,
) -> Tuning:
    """Find the settings beside the batch size that train these objects, or a target, fastest.

    Afterwards the objects are as they were. The allocator's settings, which take a new process, are
    tried for targets alone.

    Example:
        tuning = autobatch.tune(model, dataset, loss, optimizer, memory_limit="8GiB")
        for line in tuning.apply(model, optimizer):
            print("left to do:", line)

    Args:
        model: The module, or a target as of the command line: ``model.py``, ``hf:gpt2``.
        data: As of ``find_batch_size``; not for a target.
        loss: A function of output and target.
        optimizer: An optimizer of the model, a class, or a function of the parameters.
        training_step: A function of the model and a batch that returns the loss.
        optimizer_step: A function of the model and the optimizer that clips, steps and averages.
        collate_fn: How samples of a dataset become a batch.
        isolation: As of ``find_batch_size``.
        **options: Those of ``autobatch tune``, by name.

    Returns:
        A tuning; its ``apply`` puts the chosen levers on a model.

    Raises:
        SettingsError, WorkloadError: If a value or an object cannot be used.
        TuningInterrupted: On Ctrl-C once the start is measured.
    """
    own = {name: options.pop(name) for name in options_of(TuneSettings) if name in options}
    asked = TuneSettings(**read_keywords(TuneSettings, own, caller="tune"))
    known = {each.name for each in options_of(Settings).values() if each.field in SHARED_NAMES}
    other = next((name for name in options if name not in known), None)
    if other is not None:
        raise TypeError(f"tune() has no option {other!r}")
    settings = Settings(**read_keywords(Settings, options, caller="tune"))
    check_device_name(settings.device)
    given = {"loss": loss, "optimizer": optimizer, "training_step": training_step}
    others = {"optimizer_step": optimizer_step, "collate_fn": collate_fn}
    with show_activity(quiet=not is_watched()) as activity:
        if isinstance(model, str):
            _refuse_objects(model, {"data": data, **given, **others})
            return run(
                TargetOpener(model, settings, on_stage=activity.detail), settings, asked, activity
            )
        opener = _open(model, data, settings, isolation, {**given, **others})
        return run(opener, opener.settings, asked, activity)


def _refuse_objects(target: str, objects: dict[str, Any]) -> None:
    name = next((name for name, value in objects.items() if value is not None), None)
    if name is not None:
        raise SettingsError(
            f"`{name}` is given beside the target {target!r}, which says it itself",
            hint=f"leave `{name}` out",
        )


def _open(
    model: torch.nn.Module,
    data: Any,
    settings: Settings,
    isolation: str,
    objects: dict[str, Any],
) -> ObjectsOpener:
    import torch

    from autobatch.workload.live import describe_objects, find_model_device

    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        size = distributed.get_world_size()
        if size > 1:
            raise SettingsError(
                f"{size} processes train together, and only one can be tuned",
                hint="call it in a process of its own, before they start",
            )
    workload = describe_objects(model, data, seed=settings.seed, **objects)
    settings = replace(settings, device=find_model_device(model, settings.device))
    return ObjectsOpener(workload, settings, f"{type(model).__name__} (in memory)", isolation)
