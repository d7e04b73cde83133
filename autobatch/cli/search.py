"""What ``autobatch probe`` searches: a target, or a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from autobatch.command.settings import CommandSettings
from autobatch.errors import SearchInterrupted, SettingsError
from autobatch.ranks.launcher import Launched
from autobatch.ranks.settings import RanksSettings, for_ranks
from autobatch.records import Axis, Finding, Goal, Precision, Settings

if TYPE_CHECKING:  # neither is needed for --help
    from autobatch.finder.forecast import Forecast
    from autobatch.probe.probers import Prober
    from autobatch.reporting import LineProgress

_DEVICES = ("auto", "cpu")


class Search(Protocol):
    """Something that can be searched for its batch size."""

    name: str
    """As the user wrote it."""

    leads: bool
    """Whether it tells what came of it; of several processes, one does."""

    def run(self, observer: LineProgress, on_output: Callable[[str], None]) -> Finding:
        """Search.

        Args:
            observer: Is told of every trial.
            on_output: Receives each line that the user's code prints.
        """


class TargetSearch:
    """A search of a target.

    Args:
        target: As the user wrote it.
        settings: What to look for.
        ranks: How many processes train it together.
    """

    def __init__(self, target: str, settings: Settings, ranks: RanksSettings) -> None:
        from autobatch.workload.catalogues.require import require_usable
        from autobatch.workload.files import parse_target

        require_usable(parse_target(target))
        self._launched = Launched.read(os.environ)
        if self._launched is not None and ranks.nproc_per_node > 1:
            raise SettingsError(
                f"`nproc_per_node={ranks.nproc_per_node}` is given, and a launcher has started "
                f"{self._launched.place.num_ranks} processes already",
                hint="leave out one of them",
            )
        if ranks.per_rank and (ranks.nproc_per_node == 1 or settings.goal is Goal.MEMORY):
            raise SettingsError(
                "`per_rank` compares the speeds of processes that this command starts",
                hint="add `nproc_per_node`, and leave goal=memory out",
            )
        num_ranks = self._launched.place.num_ranks if self._launched else ranks.nproc_per_node
        settings = _for_axis(settings, num_ranks)
        if num_ranks > 1:
            settings = for_ranks(settings, num_ranks)
        self.name, self._settings, self._ranks = target, settings, ranks
        self.leads = self._launched is None or self._launched.place.rank == 0

    def run(self, observer: LineProgress, on_output: Callable[[str], None]) -> Finding:
        """Search in worker processes."""
        if self._launched is not None:
            return self._launched.find(
                self.name,
                self._settings,
                self._ranks,
                lambda prober: _find(prober, self.name, self._settings, observer),
                on_output,
            )
        if self._ranks.nproc_per_node > 1:
            return self._run_on_ranks(observer, on_output)
        from autobatch.probe.client import TargetProber

        prober = TargetProber(
            self.name, self._settings, on_output=on_output, on_stage=observer.doing
        )
        forecast: Forecast | None = None
        of_batches = self._settings.axis is Axis.BATCH_SIZE
        if of_batches and self._settings.goal is Goal.MEMORY and self._settings.device != "cpu":
            from autobatch.prediction.forecast import TracedForecast

            forecast = TracedForecast(self.name, self._settings)
        return _find(prober, self.name, self._settings, observer, forecast)

    def _run_on_ranks(self, observer: LineProgress, on_output: Callable[[str], None]) -> Finding:
        from autobatch.ranks.prober import GroupProber

        def start(asked: RanksSettings) -> GroupProber:
            return GroupProber.of_target(
                self.name, self._settings, asked, on_output=on_output, on_stage=observer.doing
            )

        def look_closer(finding: Finding) -> Finding:
            from autobatch.ranks.cost import examine_group

            if self._settings.goal is Goal.MEMORY:
                return finding
            observer.loading(f"one rank of {self.name} by itself")
            alone = partial(start, replace(self._ranks, nproc_per_node=1))
            return examine_group(group, finding, alone, per_rank=self._ranks.per_rank)

        group = start(self._ranks)
        return _find(group, self.name, self._settings, observer, look_closer=look_closer)


class CommandSearch:
    """A search of a command.

    Args:
        arguments: The command.
        settings: What to look for.
        command: How to run it.

    Raises:
        SettingsError: If it is to be measured in a way that only the script itself decides.
    """

    leads = True

    def __init__(
        self, arguments: tuple[str, ...], settings: Settings, command: CommandSettings
    ) -> None:
        from autobatch.command.prober import CommandProber

        _refuse_what_the_script_decides(settings)
        self._prober = CommandProber(arguments, settings, command)
        self._settings = settings
        self.name = str(self._prober.template)

    def run(self, observer: LineProgress, on_output: Callable[[str], None]) -> Finding:
        """Search in runs of the command."""
        from autobatch.command.finish import complete

        prober = self._prober
        prober.starts.on_output = on_output
        try:
            return complete(_find(prober, self.name, self._settings, observer), prober)
        except SearchInterrupted as interrupt:
            raise SearchInterrupted(complete(interrupt.finding, prober)) from None


def _find(
    context: AbstractContextManager[Prober],
    name: str,
    settings: Settings,
    observer: LineProgress,
    forecast: Forecast | None = None,
    look_closer: Callable[[Finding], Finding] = lambda finding: finding,
) -> Finding:
    finding = None
    try:
        with context as prober:
            observer.along = settings.along
            observer.loading(name)
            # Imported while a worker, started above, loads PyTorch.
            from autobatch.finder import find
            from autobatch.noise.worth import worth_of
            from autobatch.rehearsal.examine import find_rehearsed
            from autobatch.training.examinations import examine

            def search(asked: Settings) -> Finding:
                return find(
                    prober, asked, target=name, observer=observer, worth=worth_of(asked),
                    forecast=forecast,
                )  # fmt: skip

            finding = find_rehearsed(prober, settings, search)
            finding = examine(prober, finding)
            finding = look_closer(finding)
    except KeyboardInterrupt:
        if finding is None:
            raise
        raise SearchInterrupted(finding) from None  # it came while the worker was being ended
    return finding


def _for_axis(settings: Settings, num_ranks: int) -> Settings:
    """Of lengths and image sizes the largest that fits is asked for, in steps that are in use.

    Args:
        settings: As the user gave them.
        num_ranks: Processes that train together.

    Raises:
        SettingsError: If there are several, and something else than the batch grows.
    """
    axis = settings.axis
    if axis is not Axis.BATCH_SIZE and num_ranks > 1:
        raise SettingsError(
            f"`axis={axis.value}` is searched by one process, and there are {num_ranks}",
            hint="search in one process: each of several holds as long a batch",
        )
    if not settings.along.seeks_largest:
        return settings
    multiple = settings.grid_multiple or settings.along.multiple
    return replace(settings, goal=Goal.MEMORY, grid_multiple=multiple)


def _refuse_what_the_script_decides(settings: Settings) -> None:
    plain = Settings()
    asked = {
        f"axis={settings.axis.value}": settings.axis is not Axis.BATCH_SIZE,
        "goal=efficiency": settings.goal is Goal.EFFICIENCY,
        "gradient_noise": settings.gradient_noise,
        "eval": settings.evaluation,
        "by_length": settings.by_length,
        "rehearse": settings.rehearse,
        "memory_breakdown": settings.memory_breakdown,
        f"precision={settings.precision.value}": settings.precision is not Precision.FP32,
        f"seed={settings.seed}": settings.seed != plain.seed,
        f"device={settings.device}": settings.device not in _DEVICES,
    }
    refused = next((name for name, is_asked in asked.items() if is_asked), None)
    if refused is not None:
        raise SettingsError(
            f"`{refused}` is for a target: a command runs as its script says",
            hint="leave it out, or change the command itself",
        )
