"""Probers of one workload, each with other levers on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from autobatch.command.template import Template
from autobatch.errors import SettingsError
from autobatch.probe.probers import JobProber, Prober
from autobatch.probe.protocol import Job, Loaded, TimingPlan
from autobatch.records import Precision, Settings, Trial
from autobatch.tuning.asked import PLACEHOLDER, PRECISION
from autobatch.tuning.levers import LEVERS
from autobatch.tuning.records import Changes

if TYPE_CHECKING:
    from autobatch.command.settings import CommandSettings
    from autobatch.probe.client import TargetProber
    from autobatch.ranks.settings import RanksSettings
    from autobatch.workload.contract import Workload

R = TypeVar("R")
_ENTRY = (
    "import gc; gc.disable(); import autobatch.probe.worker.worker; "
    "from autobatch.tuning.tuned import {0}; gc.enable(); {0}({1!r})"
)
_STARTED = "it takes a process that starts with it: tune a file or a command"
_TOGETHER = "several processes train together"


class Trainer(Prober, JobProber, Protocol):
    """A prober that carries out jobs as well, where ``Opener.takes_jobs`` says so."""


class Opener(Protocol):
    """Opens probers of one workload."""

    name: str
    """The workload, as the user named it."""

    takes_jobs: bool
    """Whether its probers carry out jobs."""

    refuses: dict[str, str]
    """Levers that cannot be put on here, and why."""

    placeholders: dict[str, tuple[str, ...]]
    """Values of its own levers besides those of the start."""

    start: dict[str, str]
    """Values of those at the start."""

    def open(
        self, changes: Changes, variables: Mapping[str, str]
    ) -> AbstractContextManager[Trainer]:
        """A prober of a new process, with levers on.

        Args:
            changes: The levers.
            variables: Environment variables besides those of the settings, where it can have any.
        """


class AsTrained:
    """A prober whose model runs compiled if it is compiled, at every size.

    Args:
        prober: Of a target, of objects or of a command.
    """

    def __init__(self, prober: Any) -> None:
        self._prober = prober

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Load; the search need not know that sizes run compiled."""
        loaded: Loaded = self._prober.load(timeout_s=timeout_s)
        return replace(loaded, workload=replace(loaded.workload, is_compiled=False))

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size."""
        plan = replace(plan, runs_compiled=True)
        trial: Trial = self._prober.measure(batch_size, plan, timeout_s=timeout_s)
        return trial

    def run(self, job: Job[R], *, timeout_s: float | None = None) -> R:
        """Carry out a job."""
        result: R = self._prober.run(job, timeout_s=timeout_s)
        return result

    def use_variables(self, variables: dict[str, str]) -> None:
        """Where the prober can."""
        if hasattr(self._prober, "use_variables"):
            self._prober.use_variables(variables)


class GroupWithJobs:
    """Processes that train a target together, and one alone for jobs: what is true of it is of all.

    Args:
        group: A prober of all.
        alone: Opens a prober of one.
    """

    def __init__(self, group: Prober, alone: Callable[[], TargetProber]) -> None:
        self.load, self.measure, self._alone = group.load, group.measure, alone

    def run(self, job: Job[R], *, timeout_s: float | None = None) -> R:
        """Carry out a job in a process of its own."""
        with self._alone() as prober:
            prober.load(timeout_s=timeout_s)
            return prober.run(job, timeout_s=timeout_s)


class TargetOpener:
    """Opens probers of a target.

    Args:
        target: As the user wrote it.
        settings: Of the search.
        on_output: Receives each line that the user's code prints.
        on_stage: Receives what loading does now.
        ranks: How many processes train it together, and how.
    """

    takes_jobs = True

    def __init__(
        self,
        target: str,
        settings: Settings,
        on_output: Callable[[str], None] = lambda line: None,
        on_stage: Callable[[str], None] = lambda doing: None,
        ranks: RanksSettings | None = None,
    ) -> None:
        from autobatch.workload.catalogues.require import require_usable
        from autobatch.workload.files import parse_target

        require_usable(parse_target(target))
        self.name, self._settings = target, settings
        self.placeholders: dict[str, tuple[str, ...]] = {}
        self.start: dict[str, str] = {}
        self._on_output, self._on_stage = on_output, on_stage
        self._ranks = ranks if ranks is not None and ranks.nproc_per_node > 1 else None
        names = ("loader", "threads", "optimizer_state") if self._ranks else ()
        self.refuses = dict.fromkeys(names, _TOGETHER)

    @contextmanager
    def open(self, changes: Changes, variables: Mapping[str, str]) -> Iterator[Trainer]:
        """A worker, or one for each process, that loads the target with levers on."""
        from autobatch.probe.client import TargetProber

        settings = settings_with(self._settings, changes, variables)
        on_output, on_stage = self._on_output, self._on_stage

        def alone() -> TargetProber:
            entry = _ENTRY.format("main", changes)
            return TargetProber(
                self.name, settings, on_output=on_output, on_stage=on_stage, entry=entry
            )

        if self._ranks is None:
            with alone() as prober:
                yield AsTrained(prober)
            return
        from autobatch.ranks.prober import GroupProber

        entry = _ENTRY.format("main_of_rank", changes)
        with GroupProber.of_target(
            self.name, settings, self._ranks, on_output=on_output, on_stage=on_stage, entry=entry
        ) as group:
            yield AsTrained(GroupWithJobs(group, alone))


class ObjectsOpener:
    """Opens probers of the caller's objects.

    Args:
        workload: The objects.
        settings: Of the search; the device is the model's.
        name: The model, for the result.
        isolation: ``auto``, ``process`` or ``shared``.
    """

    takes_jobs = True

    def __init__(
        self, workload: Workload, settings: Settings, name: str, isolation: str = "auto"
    ) -> None:
        self.name = name
        self.placeholders: dict[str, tuple[str, ...]] = {}
        self.start: dict[str, str] = {}
        self.settings = settings
        names = [name for name, lever in LEVERS.items() if not lever.in_code]
        self.refuses = dict.fromkeys(names, _STARTED)
        self._workload, self._isolation = workload, isolation

    @contextmanager
    def open(self, changes: Changes, variables: Mapping[str, str]) -> Iterator[Trainer]:
        """Forks of this process, or this process, which is as before afterwards."""
        from autobatch.probe.live import make_prober
        from autobatch.tuning.tuned import build_with

        settings = settings_with(self.settings, changes)
        build = build_with(changes)
        with make_prober(self._workload, settings, self._isolation, build) as prober:
            yield AsTrained(prober)


class CommandOpener:
    """Opens probers of an unedited command.

    Args:
        arguments: The command, with placeholders such as ``{num_workers}`` or ``{num_workers=2}``.
        settings: Of the search.
        command: How to run it.
        levers: Values of each placeholder; the start has its own, the empty one, or the first.
        on_output: Receives each line that it prints.

    Raises:
        SettingsError: If the command has no place for a lever.
    """

    takes_jobs = False

    def __init__(
        self,
        arguments: tuple[str, ...],
        settings: Settings,
        command: CommandSettings,
        levers: dict[str, tuple[str, ...]],
        on_output: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = str(Template(arguments=arguments))
        self._arguments, self._settings, self._command = arguments, settings, command
        self._on_output = on_output
        self.refuses: dict[str, str] = {}
        found = {match[1]: match[2] for each in arguments for match in PLACEHOLDER.finditer(each)}
        for name in levers:
            if name not in found:
                raise SettingsError(
                    f"`lever={name}={','.join(levers[name])}` has no place in the command",
                    hint=f"write {{{name}}} where the command takes it",
                )
        self.start = {
            name: found[name] or ("" if "" in values else values[0])
            for name, values in levers.items()
        }
        self.placeholders = {
            name: tuple(each for each in values if each != self.start[name])
            for name, values in levers.items()
        }

    @contextmanager
    def open(self, changes: Changes, variables: Mapping[str, str]) -> Iterator[Trainer]:
        """A run of the command with these values."""
        from autobatch.command.prober import CommandProber

        all_variables = {**self._settings.variables, **variables}
        for name in changes.keys() & LEVERS.keys() - self.start.keys():
            all_variables.update(LEVERS[name].variables(changes[name]))
        settings = replace(self._settings, variables=all_variables)
        prober = CommandProber(self.fill(changes), settings, self._command)
        prober.starts.on_output = self._on_output
        with prober:
            yield AsTrained(prober)

    def fill(self, changes: Changes) -> tuple[str, ...]:
        """The command with the values of levers filled in; an empty one is left out."""
        values = {name: changes.get(name, start) for name, start in self.start.items()}
        filled: list[str] = []
        for argument in self._arguments:
            alone = PLACEHOLDER.fullmatch(argument)
            if alone and alone[1] in values:
                filled += shlex.split(values[alone[1]])
            else:
                filled.append(PLACEHOLDER.sub(lambda at: values.get(at[1], at[0]), argument))
        return tuple(filled)


def settings_with(
    settings: Settings, changes: Changes, others: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Settings of a search with levers on: their variables, and their arithmetic.

    Args:
        settings: Without them.
        changes: The levers.
        others: Variables besides.
    """
    variables = {**settings.variables, **others}
    for name, value in changes.items():
        if name in LEVERS and not LEVERS[name].in_code:
            variables.update(LEVERS[name].variables(value))
    precision = Precision(changes.get(PRECISION, settings.precision.value))
    return replace(settings, variables=variables, precision=precision)
