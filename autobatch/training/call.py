"""``find_batch_size()``: the batch size for objects that the caller holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from autobatch.devices.select import check_device_name
from autobatch.errors import SearchInterrupted, WorkloadError
from autobatch.finder import find
from autobatch.noise.worth import worth_of
from autobatch.probe.client import TargetProber
from autobatch.probe.live import SharingProber, make_prober
from autobatch.records import Finding, Settings, Trial
from autobatch.records.options import read_keywords
from autobatch.rehearsal.examine import find_rehearsed
from autobatch.training.answer import TrainingFinding
from autobatch.training.examinations import examine
from autobatch.training.notice import Watched, announce
from autobatch.training.options import SearchOptions, shows_options
from autobatch.training.ranks import find_in_job, find_job
from autobatch.workload.contract import Workload
from autobatch.workload.live import describe_objects, find_model_device

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader
    from typing_extensions import Unpack

    from autobatch.ranks.prober import GroupProber

AnyProber: TypeAlias = "TargetProber | SharingProber | GroupProber"

_OBJECTS = (
    "training_step", "optimizer_step", "collate_fn", "length", "evaluate", "eval_loader"
)  # fmt: skip


@shows_options
def find_batch_size(
    model: torch.nn.Module,
    data: Any = None,
    loss: Callable[..., torch.Tensor] | None = None,
    optimizer: Any = None,
    *,
    training_step: Callable[[torch.nn.Module, Any], Any] | None = None,
    optimizer_step: Callable[[torch.nn.Module, torch.optim.Optimizer], Any] | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    length: Callable[[Any], Any] | None = None,
    evaluate: Callable[[torch.nn.Module, DataLoader[Any]], Any] | None = None,
    eval_loader: DataLoader[Any] | None = None,
    on_trial: Callable[[Trial], object] | None = None,
    isolation: str = "auto",
    **options: Unpack[SearchOptions],
) -> TrainingFinding:
    """Find the batch size to train these objects with, by training steps on them.

    Also in the middle of training: afterwards weights, gradients, optimizer state, hooks, random
    generators, settings and samplers are as they were. Of several ranks, all call it.

    Examples:
        >>> import autobatch, torch
        >>> model = torch.nn.Linear(10, 2)
        >>> dataset = [(torch.randn(10), index % 2) for index in range(64)]
        >>> autobatch.find_batch_size(model, dataset, goal="memory", max_batch_size=16).batch_size
        16

    Args:
        model: The module, on the device that it is trained on.
        data: A ``DataLoader`` (all but its batch size is kept), a dataset, a function of the batch
            size that returns a batch, or one sample: a tensor, array, tuple, mapping or dataclass.
            Text describes one of random data: ``input=3x224x224,classes=1000``.
        loss: A function of output and target; not for a model that returns its loss.
        optimizer: An optimizer of the model, a class, or a function of the parameters; else AdamW.
        training_step: A function of the model and a batch that returns the loss, or steps itself.
        optimizer_step: A function of the model and the optimizer that clips, steps and averages.
        collate_fn: How samples of a dataset become a batch.
        length: How long a sample is, or several numbers, where its elements do not say it.
        evaluate: A function of the model and a loader: your evaluation, which ``rehearse`` runs.
        eval_loader: What it evaluates on.
        on_trial: Called with each ``Trial`` when it is done.
        isolation: ``process`` forks for trials, ``shared`` puts back what they change, ``auto``.
        **options: Those of the command line, by name.

    Returns:
        A finding whose batch size ran and fitted; a line of the log, or a warning, tells of it.

    Raises:
        SettingsError, WorkloadError: If a value or an object cannot be used.
        NothingFitsError: If not even the smallest size fits.
        SearchInterrupted: On Ctrl-C once a size has fitted.
    """
    finding = find_for_objects(
        model, data, loss, optimizer, training_step=training_step, optimizer_step=optimizer_step,
        collate_fn=collate_fn, length=length, evaluate=evaluate, eval_loader=eval_loader,
        on_trial=on_trial, isolation=isolation, **options,
    )  # fmt: skip
    announce(finding, "recommended", stacklevel=2)
    return finding


def find_for_objects(
    model: torch.nn.Module,
    data: Any,
    loss: Callable[..., torch.Tensor] | None,
    optimizer: Any,
    *,
    on_trial: Callable[[Trial], object] | None = None,
    isolation: str = "auto",
    **named: Any,
) -> TrainingFinding:
    """``find_batch_size`` for a caller that says itself what came of it."""
    objects = {name: named.pop(name, None) for name in _OBJECTS}
    settings = Settings(**read_keywords(Settings, named, caller="find_batch_size"))
    workload = describe_objects(
        model, data, loss=loss, optimizer=optimizer, seed=settings.seed, **objects
    )
    return find_for_workload(workload, settings, on_trial=on_trial, isolation=isolation)


def find_for_workload(
    workload: Workload,
    settings: Settings,
    *,
    on_trial: Callable[[Trial], object] | None = None,
    isolation: str = "auto",
) -> TrainingFinding:
    """Find the batch size for a workload whose model is a live module.

    Args:
        workload: The caller's objects.
        settings: What to look for.
        on_trial: Called with each trial.
        isolation: ``auto``, ``process`` or ``shared``.

    Raises:
        SearchInterrupted: On Ctrl-C once a size has fitted; carries the best answer so far.
    """
    check_device_name(settings.device)
    assert not isinstance(workload.model, type)
    device = find_model_device(workload.model, settings.device)  # type: ignore[arg-type]
    settings = replace(settings, device=device)
    model = getattr(workload.model, "_orig_mod", workload.model)  # inside what torch.compile made
    target = f"{type(model).__name__} (in memory)"
    observer = Watched(on_trial)

    def search(settings: Settings, prober: AnyProber) -> Finding:
        with observer.shown(target), prober:

            def search_once(asked: Settings) -> Finding:
                return find(prober, asked, target=target, observer=observer, worth=worth_of(asked))

            finding = find_rehearsed(prober, settings, search_once)
            try:
                return examine(prober, finding)
            except KeyboardInterrupt:
                raise SearchInterrupted(finding) from None

    try:
        job = find_job()
        if job is None:
            finding = search(settings, make_prober(workload, settings, isolation))
        else:
            finding = find_in_job(job, workload, settings, isolation, search)
    except SearchInterrupted as interrupt:
        raise SearchInterrupted(TrainingFinding.of(interrupt.finding)) from None
    except WorkloadError as error:
        if error.user_traceback and hasattr(error, "add_note"):  # Python 3.11 and later
            error.add_note(f"\nIn the trial:\n{error.user_traceback}")
        raise
    return TrainingFinding.of(finding)
