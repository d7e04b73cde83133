"""What the text of a target says of its model and input. No PyTorch here.

model.py,input=3x224x224,classes=1000       random inputs for a file that has only a model
model.py,input=512,vocabulary=50257         the same for tokens
hf:gpt2,n_layer=6,sequence_length=256       keys of a configuration; tokens in a sample
timm:resnet50,input=3x320x320,classes=100   images and classes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autobatch.errors import SettingsError
from autobatch.records.kinds import COUNT, Kind
from autobatch.units import parse_shape

# A comma within a value, such as that of a list, is followed by no name.
_PAIR = re.compile(r",(?=[A-Za-z_]\w*=)")


def _parse_shape(text: str) -> tuple[int, ...]:
    shape = parse_shape(text)
    if not all(shape):
        raise ValueError
    return shape


_SHAPE = Kind(_parse_shape, "the shape of one sample", "a shape such as 3x224x224")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """What a target says of its model and input.

    Attributes:
        input: Shape of one sample of random inputs; ``None`` if it says none.
        classes: Random targets are class ids below this.
        vocabulary: Random inputs are token ids below this, instead of floats.
        sequence_length: Tokens in a sample.
        overrides: All else: values of a configuration by key, as text.
    """

    input: tuple[int, ...] | None
    classes: int | None
    vocabulary: int | None
    sequence_length: int | None
    overrides: dict[str, str]


def split_target(text: str) -> tuple[str, dict[str, str]]:
    """The target, and the values that follow it behind commas."""
    target, *pairs = _PAIR.split(text)
    return target, dict(pair.split("=", 1) for pair in pairs)


def read_shape(values: Mapping[str, str]) -> InputShape:
    """Read the values that follow a target.

    Raises:
        SettingsError: If one of those whose kind is known cannot be used.
    """
    rest = dict(values)

    def take(name: str, kind: Kind) -> Any:
        return kind.read(name, rest.pop(name)) if name in rest else None

    return InputShape(
        input=take("input", _SHAPE),
        classes=take("classes", COUNT),
        vocabulary=take("vocabulary", COUNT),
        sequence_length=take("sequence_length", COUNT),
        overrides=rest,
    )


def read_input(values: Mapping[str, str], where: str) -> InputShape:
    """Read what describes random inputs for a model that is not a catalogue's.

    Args:
        values: Those that were given.
        where: What they were given for, for messages.

    Raises:
        SettingsError: If there is something else among them, or ``input`` is missing.
    """
    shape = read_shape(values)
    others = {**shape.overrides}
    if shape.sequence_length is not None:
        others["sequence_length"] = str(shape.sequence_length)
    if others:
        key, value = next(iter(others.items()))
        raise SettingsError(
            f"{where}: {key}={value} is for models of a catalogue",
            hint="use input=, classes= and vocabulary= to describe random inputs, or a catalogue's "
            "model such as hf:gpt2",
        )
    if shape.input is None and values:
        key, value = next(iter(values.items()))
        raise SettingsError(
            f"{where}: {key}={value} needs the shape of a sample beside it",
            hint=f"add it, such as input=3x224x224,{key}={value}",
        )
    return shape
