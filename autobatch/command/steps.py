"""From the events of a training loop to its steps.

    B D O   D B O   D B O   E E E   D B O        events (see ``hook/steps.py``)
        |-------|-------|---------------|        steps: from one boundary to the next
          clean   clean    evaluation: does not count

A boundary is the end of an optimizer's step; of the first one, where several optimizers take turns.
Without any it is the end of a backward pass, and without that a batch. Only what lies between two
boundaries is a whole step, so the first boundary ends none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autobatch.command.events import Event

_PASSES_WITHOUT_OPTIMIZER = 4
# Where the time of an end stands in its event, and where the number of its mark on a GPU.
_ENDS = {"B": (2, 3), "O": (1, 4), "S": (1, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a training loop.

    Attributes:
        time_s: From the end of the step before to its own.
        data_time_s: The part of it that fetched batches.
        num_passes: Backward passes.
        num_batches: Batches of the training loader.
        num_samples: Samples in them; ``None`` where no loader was seen.
        is_clean: Whether it held training alone: no evaluation, no begin of an epoch, no batch
            smaller than the others.
        end_s: When it ended.
    """

    time_s: float
    data_time_s: float
    num_passes: int
    num_batches: int
    num_samples: int | None
    is_clean: bool
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsSeen:
    """The steps of a process, and what they were seen by.

    Attributes:
        steps: In order.
        num_boundaries: Ends of steps, that of the first one included.
        seen_by: ``optimizer``, ``backward`` or ``loader``.
        loader: Number of the training loader; ``None`` if none was seen.
        num_skipped: Steps that a ``GradScaler`` skipped.
        num_epochs: Epochs of the training loader that began.
        batch_sizes: Samples of each batch of the training loader.
        rates: Learning rates of the first optimizer's steps.
    """

    steps: tuple[Step, ...] = ()
    num_boundaries: int = 0
    seen_by: str = "optimizer"
    loader: int | None = None
    num_skipped: int = 0
    num_epochs: int = 0
    batch_sizes: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()

    @property
    def batch_size(self) -> int | None:
        """Samples of most batches of the training loader; ``None`` if none was seen."""
        return Counter(self.batch_sizes).most_common(1)[0][0] if self.batch_sizes else None

    @property
    def clean(self) -> tuple[Step, ...]:
        """The steps that count; all, where after several epochs there is no clean one."""
        clean = tuple(step for step in self.steps if step.is_clean)
        return clean if clean or self.num_epochs <= 3 else self.steps


@dataclass
class _Gap:
    """What happened since the last boundary."""

    passes: int = 0
    batches: int = 0
    samples: int = 0
    data_time_s: float = 0.0
    is_disturbed: bool = False
    firsts: set[int] = field(default_factory=set)


def find_steps(events: Sequence[Event], batch_size: int | None = None) -> StepsSeen:
    """Divide what happened in a training loop into steps.

    Args:
        events: Of one process, in order.
        batch_size: Samples that a batch was asked to have. Batches of another size, such as those
            that were fetched before, are not counted if any has that size.
    """
    events = at_device_times(events)
    seen_by = _choose_boundary(events)
    loader = _find_training_loader(events)
    usual = _usual_size(events, loader, batch_size)
    # They are numbered as they first step; where events begin in a step, another may come first.
    primary = min((each[2] for each in events if each[0] == "O"), default=None)
    gap, last_s = _Gap(), None
    steps: list[Step] = []
    sizes: list[int] = []
    num_boundaries = num_epochs = 0
    for event in events:
        word = event[0]
        if word == "D" and event[3] == loader:
            size = _count_samples(event, usual)
            sizes.append(size)
            gap.firsts.add(size)
            gap.batches += 1
            gap.samples += size
        if word == "D":
            gap.data_time_s += event[2] - event[1]
        elif word == "B":
            gap.passes += 1
        elif word == "loader":
            gap.is_disturbed = True
            num_epochs += event[1] == loader
        elif word in ("E", "resumed"):
            gap.is_disturbed = True
        end_s = _end_of_step(event, seen_by, primary, gap)
        if end_s is None:
            continue
        num_boundaries += 1
        if last_s is not None:
            steps.append(_close(gap, end_s - last_s, end_s, usual, has_loader=loader is not None))
        gap, last_s = _Gap(), end_s
    return StepsSeen(
        steps=tuple(steps),
        num_boundaries=num_boundaries,
        seen_by=seen_by,
        loader=loader,
        num_skipped=sum(event[0] == "S" for event in events),
        num_epochs=num_epochs,
        batch_sizes=tuple(sizes),
        rates=tuple(e[3] for e in events if e[0] == "O" and e[2] == primary and e[3] is not None),
    )


def at_device_times(events: Sequence[Event]) -> list[Event]:
    """The events of a training on a GPU, with ends of steps when the GPU came to them.

    Args:
        events: Of one process. What follows the first end that the GPU has not come to is left out.
    """
    passed_s = {event[1]: event[2] for event in events if event[0] == "T"}
    told = []
    for event in events:
        end, marked = _ENDS.get(event[0], (0, 0))
        if marked and len(event) > marked:
            if event[marked] not in passed_s:
                break
            event = [*event[:end], passed_s[event[marked]], *event[end + 1 :]]
        if event[0] != "T":
            told.append(event)
    return told


def merge_ranks(seen: Sequence[StepsSeen]) -> StepsSeen:
    """The steps of processes that train together: each takes as long as on the slowest of them.

    A step counts if it does on every rank: while one evaluates, the others wait for it.

    Args:
        seen: Of each process, that of the first rank first.
    """
    together = zip(*(each.steps for each in seen), strict=False)
    steps = tuple(
        replace(
            max(step_of_ranks, key=lambda step: step.time_s),
            is_clean=all(step.is_clean for step in step_of_ranks),
        )
        for step_of_ranks in together
    )
    num_boundaries = min(each.num_boundaries for each in seen)
    return replace(seen[0], steps=steps, num_boundaries=num_boundaries)


def _choose_boundary(events: Sequence[Event]) -> str:
    counts = Counter(event[0] for event in events)
    if counts["O"] or counts["S"]:
        return "optimizer"
    return "backward" if counts["B"] >= _PASSES_WITHOUT_OPTIMIZER else _without_passes(counts)


def _without_passes(counts: Counter[str]) -> str:
    # The first backward passes may be those of one step that accumulates gradients.
    return "optimizer" if counts["B"] else "loader"


def _find_training_loader(events: Sequence[Event]) -> int | None:
    """The loader whose batch came before the first backward pass."""
    last = None
    for event in events:
        if event[0] == "D":
            last = event[3]
        elif event[0] in ("B", "O"):
            break
    return last


def _usual_size(events: Sequence[Event], loader: int | None, batch_size: int | None) -> int | None:
    """Samples in a whole batch: as asked if one is so, else what its sampler says, or most have."""
    firsts: Counter[int] = Counter()
    for event in events:
        if event[0] == "D" and event[3] == loader and event[4] and event[4][0]:
            firsts[event[4][0][0]] += 1
    if batch_size in firsts:
        return batch_size
    most = firsts.most_common(1)[0][0] if firsts else None
    said = next((e[4] for e in reversed(events) if e[0] == "loader" and e[1] == loader), None)
    # A loader whose batches lie in another dimension, or were resized, is told by the shapes.
    shapes = [shape for e in events if e[0] == "D" and e[3] == loader for shape in e[4][:1]]
    if said is not None and shapes and said not in shapes[-1][:1] and said in shapes[-1]:
        return int(said)
    return most


def _count_samples(event: Event, usual: int | None) -> int:
    shapes = event[4]
    if not shapes or not shapes[0]:
        return usual or 0
    return usual if usual is not None and usual in shapes[0] else int(shapes[0][0])


def _end_of_step(event: Event, seen_by: str, primary: int | None, gap: _Gap) -> float | None:
    word = event[0]
    if seen_by == "loader":
        return float(event[1]) if word == "D" else None
    if seen_by == "backward":
        return float(event[2]) if word == "B" else None
    is_end = word == "S" or (word == "O" and event[2] == primary)
    return float(event[1]) if is_end and gap.passes else None


def _close(gap: _Gap, time_s: float, end_s: float, usual: int | None, *, has_loader: bool) -> Step:
    is_whole = all(size == usual for size in gap.firsts)
    return Step(
        time_s=time_s,
        data_time_s=min(gap.data_time_s, time_s),
        num_passes=gap.passes,
        num_batches=gap.batches,
        num_samples=gap.samples if has_loader and gap.batches else None,
        is_clean=is_whole and not gap.is_disturbed,
        end_s=end_s,
    )
