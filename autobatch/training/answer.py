"""A finding with methods that apply it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from autobatch.errors import SettingsError, WorkloadError
from autobatch.recommend.learning_rate import FAR_MULTIPLIER, scale_betas
from autobatch.records import Finding, LearningRateRule
from autobatch.training.notice import keep_random_state
from autobatch.units import (
    format_bytes,
    format_count,
    format_learning_rate,
    format_rate,
)

if TYPE_CHECKING:
    import os

    import torch
    from matplotlib.figure import Figure
    from torch.utils.data import DataLoader
    from typing_extensions import Self

    from autobatch.training.sampler import BucketBatchSampler

_REPORT_WIDTH = 88
# Where elements were counted, a label beside a text is one more.
_SAME_MEASURE_FRACTION = 0.8


class TrainingFinding(Finding):
    """A ``Finding`` with what training code does next.

    A class of its own in a higher layer: records neither render nor know of PyTorch.
    """

    __slots__ = ()

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Wrap a finding with methods that apply it."""
        return cls(**{field.name: getattr(finding, field.name) for field in fields(finding)})

    @keep_random_state()
    def to_dict(self) -> dict[str, Any]:
        """The document that ``autobatch probe --json`` prints, as a dict."""
        from autobatch.reporting import to_document

        return to_document(self)

    @keep_random_state()
    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the document to a file, for ``autobatch show``.

        Args:
            path: The file.
            overwrite: Whether to replace an existing file.

        Raises:
            SettingsError: If it cannot be written.
        """
        from autobatch.reporting import save

        save(self, path, overwrite)

    @keep_random_state()
    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw throughput and memory against the batch size.

        Args:
            path: A png, svg or pdf file to write as well.

        Returns:
            A matplotlib figure, which a notebook shows as a picture.

        Raises:
            SettingsError: If matplotlib is not installed or the file cannot be written.
        """
        from autobatch.reporting.plot import draw, save_plot

        if path is not None:
            save_plot(self, path)
        return draw(self)

    @keep_random_state()
    def report(self) -> str:
        """The report that ``autobatch probe`` prints."""
        from autobatch.reporting import render
        from autobatch.reporting.screen import as_text

        return as_text(render, self, width=_REPORT_WIDTH)

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Set an optimizer's learning rates, and Adam's betas and epsilon with them.

        Every parameter group's rate is multiplied by ``learning_rate_multiplier``, so that
        their ratios stay; so is ``initial_lr``, from which schedulers that are made later
        begin. A group whose rates are ``None`` is left alone, and so is one whose betas the rule
        would take below 0. Call it once, before a scheduler is made.

        Warns (``UserWarning``) where the rule gives no rate, and of a rate more than eight times
        the base.

        Args:
            optimizer: With the rates that go with the base batch size, as they were when the
                search was asked.

        Raises:
            WorkloadError: If it is not an optimizer.
        """
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(groups, list):
            raise WorkloadError(
                f"'optimizer' is a {type(optimizer).__name__}, not a torch.optim.Optimizer",
                hint="give the optimizer that is trained with",
            )
        factor = self.rate_factor(groups)
        for group in groups:
            if not self._apply_moments(group):
                _warn(
                    "the rule takes a beta of a parameter group below 0: the group stays as it is"
                )
                continue
            for name in ("lr", "initial_lr"):
                if group.get(name) is not None:
                    group[name] = group[name] * factor

    def rate_factor(self, groups: Sequence[Mapping[str, Any]] = ()) -> float:
        """What ``apply`` multiplies rates by, with its warnings.

        Args:
            groups: An optimizer's parameter groups. If their one rate is not the base rate of
                the search, the factor goes from theirs to the recommended one.

        Returns:
            The factor; 1 where the rule gives no rate.
        """
        recommendation = self.recommendation
        multiplier = recommendation.learning_rate_multiplier
        if multiplier is None:
            _warn(f"the learning rate stays as it is: {recommendation.learning_rate_reason}")
            return 1.0
        if multiplier > FAR_MULTIPLIER:
            times = format_learning_rate(multiplier)
            reason = recommendation.learning_rate_reason
            _warn(f"the learning rate is {times} times the base rate: {reason}")
        base, rates = self.settings.learning_rate, {_plain(g.get("lr")) for g in groups}
        if base is not None and len(rates) == 1 and recommendation.learning_rate is not None:
            own = rates.pop()
            if own:
                return recommendation.learning_rate / own
        return multiplier

    def dataloader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        """A ``DataLoader`` with the recommended batch size.

        Args:
            dataset: Map-style or iterable.
            **options: Passed on to the loader. Without ``sampler``, ``batch_sampler`` and
                ``shuffle`` a map-style dataset is shuffled; ``drop_last`` is as recommended:
                never so that nothing is left, and so that BatchNorm does not meet a batch of
                one sample. Where loading was the bound, the loader settings that were chosen are
                set, unless ``num_workers`` is given or the dataset is iterable.

        Raises:
            SettingsError: If the options set the batch size, which is what this is for.
        """
        from torch.utils.data import DataLoader, IterableDataset

        for name in ("batch_size", "batch_sampler"):
            if options.get(name) is not None:
                raise SettingsError(
                    f"dataloader({name}={options[name]!r}): the finding has the batch size",
                    hint=f"leave {name} out, or make the DataLoader yourself",
                )
        options.pop("batch_size", None)
        is_iterable = isinstance(dataset, IterableDataset)
        if not is_iterable and options.get("sampler") is None:
            options.setdefault("shuffle", True)
        loading = self.loading
        if loading and loading.chosen and not is_iterable and "num_workers" not in options:
            options = {**loading.chosen.as_options(), **options}
        if "drop_last" not in options:
            options["drop_last"] = self._should_drop_last(_size_of(dataset))
        return DataLoader(dataset, batch_size=self.batch_size, **options)

    def batch_sampler(
        self,
        lengths: Sequence[int],
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> BucketBatchSampler:
        """A ``batch_sampler`` with batches of like length, as large as the memory holds.

        Args:
            lengths: Length of each sample of the dataset, in its order and in the measure of
                the search.
            shuffle: Whether samples and batches come in random order.
            seed: Of that order.
            drop_last: Whether batches that are not full are left out.

        Raises:
            SettingsError: If the finding has no sizes by length, a sample is longer than any in
                the search, or the lengths are not in its measure.
        """
        from autobatch.training.sampler import BucketBatchSampler

        if not self.buckets:
            raise SettingsError(
                "the finding has no batch sizes by length",
                hint="its warnings say why; take finding.dataloader(dataset)"
                if self.settings.by_length
                else "search with by_length=True",
            )
        self._check_measure(lengths)
        return BucketBatchSampler(
            lengths, self.buckets, shuffle=shuffle, seed=seed, drop_last=drop_last
        )

    def _check_measure(self, lengths: Sequence[int]) -> None:
        scan = self.workload.lengths
        if scan is None or not scan.num_scanned == scan.num_samples == len(lengths):
            return  # of other samples, or of more than were looked at
        longest = max(lengths)
        if longest < _SAME_MEASURE_FRACTION * scan.longest:
            raise SettingsError(
                f"the longest of 'lengths' is {format_count(longest)}, and the longest sample in "
                f"the search was {format_count(scan.longest)} {scan.measure}",
                hint="search with length=, and give lengths in the same measure here",
            )

    def _apply_moments(self, group: dict[str, Any]) -> bool:
        """Set what goes with the rate; whether the rate may be set, which the betas decide."""
        recommendation = self.recommendation
        multiplier = recommendation.learning_rate_multiplier
        if multiplier is None or recommendation.learning_rate_rule is not LearningRateRule.SQRT:
            return True
        if recommendation.adam_betas is not None and "betas" in group:
            betas = scale_betas(multiplier**2, tuple(group["betas"]))
            if betas is None:
                return False
            group["betas"] = betas
        if recommendation.adam_epsilon_multiplier is not None and "eps" in group:
            group["eps"] = group["eps"] * recommendation.adam_epsilon_multiplier
        return True

    def _should_drop_last(self, num_samples: int | None) -> bool:
        if num_samples is None:
            return self.recommendation.drop_last
        if num_samples < self.batch_size:
            return False
        leaves_one = num_samples % self.batch_size == 1 and self.workload.has_batch_norm
        return self.recommendation.drop_last or leaves_one

    @keep_random_state()
    def __repr__(self) -> str:
        return f"<Finding {', '.join(f'{name}={value}' for name, value in self._rows())}>"

    def __str__(self) -> str:
        return self.report()

    @keep_random_state()
    def _repr_html_(self) -> str:
        from autobatch.reporting.html import to_html

        return to_html(self, report=self.report())

    def _rows(self) -> Iterator[tuple[str, str]]:
        recommendation = self.recommendation
        yield "batch_size", format_count(self.batch_size)
        if self.gradient_accumulation_steps > 1:
            yield "gradient_accumulation_steps", str(self.gradient_accumulation_steps)
        if self.iterations_per_epoch is not None:
            yield "iterations_per_epoch", format_count(self.iterations_per_epoch)
        if self.learning_rate is not None:
            yield "learning_rate", format_learning_rate(self.learning_rate)
        if self.eval_batch_size is not None:
            yield "eval_batch_size", format_count(self.eval_batch_size)
        eagerly = " run eagerly" if self.workload.is_compiled else ""
        yield "throughput", format_rate(recommendation.samples_per_s) + eagerly
        if self.compiled_samples_per_s is not None:
            yield "compiled_throughput", format_rate(self.compiled_samples_per_s)
        if recommendation.peak_bytes is not None:
            budget = format_bytes(self.budget.budget_bytes)
            yield "memory", f"{format_bytes(recommendation.peak_bytes)} of {budget}"
        yield "device", self.device
        if self.warnings:
            from autobatch.reporting import advise

            yield "warnings", "; ".join(advise(warning).title for warning in self.warnings)


def _warn(message: str) -> None:
    warnings.warn(f"autobatch: {message}", UserWarning, stacklevel=4)


def _plain(rate: Any) -> float | None:
    return None if rate is None else float(rate)


def _size_of(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
