"""The options of a search, one group, so that every command that searches has the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from autobatch.records import Goal, LearningRateRule, Precision, Settings
from autobatch.shell import types

_F = TypeVar("_F", bound=Callable[..., Any])


def _choice(enum: Any) -> click.Choice[str]:
    return click.Choice([member.value for member in enum])


SEARCH_OPTIONS = (
    click.option("--device", default="auto", show_default=True, metavar="NAME",
                 help="auto, cpu, cuda, cuda:1, xpu, xpu:1 or mps."),
    click.option("--memory-limit", "memory_limit_bytes", type=types.BYTES, metavar="SIZE",
                 help="Memory that training may hold in all, such as 8GiB. "
                 "Default: what the machine has."),
    click.option("--headroom", "headroom_fraction", type=types.FRACTION, default="10%",
                 show_default=True, metavar="SHARE", help="Memory to keep free."),
    click.option("--min-batch-size", type=types.COUNT, default="1", show_default=True,
                 metavar="N", help="Smallest size to try."),
    click.option("--max-batch-size", type=types.COUNT, metavar="N", help="Largest size to try."),
    click.option("--grid", "grid_multiple", type=types.GRID, default="powers",
                 show_default=True, metavar="GRID",
                 help="powers (of two), or multiple:8 to refine at the memory limit."),
    click.option("--goal", type=_choice(Goal), default=Goal.THROUGHPUT.value, show_default=True,
                 help="The smallest size that is as fast as any, the largest that fits, or the one "
                 "whose samples teach most per second."),
    click.option("--tolerance", "tolerance_fraction", type=types.FRACTION, default="5%",
                 show_default=True, metavar="SHARE",
                 help="How far below the best throughput the answer may lie."),
    click.option("--noise", "measure_noise", is_flag=True,
                 help="Measure the gradient noise scale; --goal efficiency always does."),
    click.option("--checkpoint", metavar="FILE",
                 help="Measure at these weights, saved with torch.save(model.state_dict(), FILE)."),
    click.option("--precision", type=_choice(Precision), default=Precision.FP32.value,
                 show_default=True, help="Arithmetic of a step."),
    click.option("--dataset-size", type=types.COUNT, metavar="N",
                 help="Samples in an epoch, where the data does not tell."),
    click.option("--drop-last", is_flag=True, help="Leave a last, smaller batch out."),
    click.option("--lr", "learning_rate", type=types.RATE, metavar="RATE",
                 help="Learning rate that you train with now."),
    click.option("--base-batch-size", type=types.COUNT, metavar="N",
                 help="Global batch size that --lr goes with.  [default: the file's, or 32]"),
    click.option("--lr-rule", "learning_rate_rule", type=_choice(LearningRateRule),
                 default=LearningRateRule.AUTO.value, show_default=True,
                 help="How the rate follows the batch size; auto goes by the optimizer."),
    click.option("--global-batch-size", type=types.COUNT, metavar="N",
                 help="Samples per optimizer step to reach by gradient accumulation."),
    click.option("--num-devices", type=types.COUNT, default="1", show_default=True, metavar="N",
                 help="Devices that will train together."),
    click.option("--time-limit", "time_limit_s", type=types.SECONDS, metavar="TIME",
                 help="Stop with the best answer so far after, for example, 90s or 5min."),
    click.option("--trial-timeout", "trial_timeout_s", type=types.SECONDS, default="10min",
                 show_default=True, metavar="TIME",
                 help="Give a size up after this time, and count it as not fitting."),
    click.option("--seed", type=click.INT, default=0, show_default=True,
                 help="Seed of every random generator in a trial."),
    click.option("--eval", "evaluation", is_flag=True,
                 help="Look for the largest size for evaluation, too."),
    click.option("--max-tokens", is_flag=True,
                 help="Where samples differ in length: a batch size for each range of lengths."),
    click.option("--env", "variables", type=types.VARIABLE, multiple=True,
                 metavar="NAME=VALUE", help="Set an environment variable for the training."),
    click.option("--input", "input_shape", type=types.SHAPE, metavar="SHAPE",
                 help="Random inputs of this shape, such as 3x224x224, for a file that has "
                 "only a model."),
    click.option("--classes", "num_classes", type=types.COUNT, metavar="N",
                 help="With --input: class targets below N."),
    click.option("--vocabulary", "vocabulary_size", type=types.COUNT, metavar="N",
                 help="With --input: token ids below N instead of floats."),
    click.option("--set", "overrides", type=types.OVERRIDE, multiple=True, metavar="KEY=VALUE",
                 help="Change a catalogue model's configuration, such as n_layer=6."),
    click.option("--sequence-length", type=types.COUNT, metavar="N",
                 help="Tokens in a sample of a language model from a catalogue."),
)  # fmt: skip


def pick_options(*names: str) -> Callable[[_F], _F]:
    """Give a command some of the options of a search, by the names of its settings."""

    def decorate(command: _F) -> _F:
        for option in reversed(SEARCH_OPTIONS):
            if _name_of(option) in names:
                command = option(command)
        return command

    return decorate


def _name_of(option: Callable[..., Any]) -> str:
    holder = click.Command("holder")
    option(holder)
    return holder.params[0].name or ""


def search_options(command: _F) -> _F:
    """Give a command all options of a search."""
    for option in reversed(SEARCH_OPTIONS):
        command = option(command)
    return command


def to_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from the values of ``search_options``.

    Raises:
        SettingsError: If they do not go together.
    """
    kinds = {
        "goal": Goal,
        "precision": Precision,
        "learning_rate_rule": LearningRateRule,
        "variables": dict,
        "overrides": dict,
    }
    return Settings(**{name: kinds.get(name, _as_it_is)(value) for name, value in values.items()})


def _as_it_is(value: Any) -> Any:
    return value
