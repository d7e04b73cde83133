"""``timm:resnet50`` and ``torchvision:resnet50``: image classifiers with random weights."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autobatch.errors import SettingsError, WorkloadError, message_of
from autobatch.records import Settings
from autobatch.units import format_count
from autobatch.workload.catalogues.entry import Entry, making_failed
from autobatch.workload.catalogues.values import name_near, parse_literal, unknown_key_error
from autobatch.workload.files import Target
from autobatch.workload.shape import InputShape

_AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014
_DEFAULT_SHAPE = (3, 224, 224)
_NUM_CLASSES = 1000


def cross_entropy(output: Any, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, of auxiliary classifiers too where training has them.

    Args:
        output: Scores of shape ``(samples, classes)``, or a tuple of them: the main classifier's
            first.
        target: Class ids of shape ``(samples,)``.
    """
    scores = [output] if isinstance(output, torch.Tensor) else [o for o in output if o is not None]
    main, *auxiliary = (functional.cross_entropy(each, target) for each in scores)
    return main + _AUXILIARY_WEIGHT * torch.stack(auxiliary).sum() if auxiliary else main


def load_timm(target: Target, settings: Settings) -> Entry:
    """Make a classifier that timm knows.

    Raises:
        WorkloadError: If there is none of this name, or it cannot be made.
        SettingsError: If a value does not go with it.
    """
    import timm

    name = target.name
    # Names of other places to load from, such as hf_hub:..., would be downloaded.
    if not name or ":" in name or "/" in name or not timm.is_model(name):
        raise _unknown_model_error(target, timm.list_models())
    values = _read_values(target.shape)
    if target.shape.input is not None:
        values.setdefault("in_chans", target.shape.input[0])
        if _has_fixed_size(target):
            values.setdefault("img_size", target.shape.input[1:])
    model = _make(target, lambda **given: timm.create_model(name, **given), values)
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    num_classes = int(getattr(model, "num_classes", _NUM_CLASSES))
    if num_classes == 0:
        raise WorkloadError(
            f"target {target.text!r} is made without a classifier",
            hint="add one, such as num_classes=1000",
        )
    shape = target.shape.input or tuple(config.get("input_size") or _DEFAULT_SHAPE)
    return _make_entry(model, shape, num_classes, settings.seed)


def load_torchvision(target: Target, settings: Settings) -> Entry:
    """Make a classifier that torchvision knows.

    Raises:
        WorkloadError: If there is none of this name, or it cannot be made.
        SettingsError: If a value does not go with it.
    """
    from torchvision import models

    name = target.name
    classifiers = models.list_models(module=models)
    if name not in classifiers and name in models.list_models():
        raise WorkloadError(
            f"target {target.text!r} is not an image classifier, and there are random batches "
            "for those alone",
            hint="write a file with the model and a function batch(batch_size)",
        )
    if name not in classifiers:
        raise _unknown_model_error(target, classifiers)
    values = _read_values(target.shape)
    model = _make(target, lambda **given: models.get_model(name, weights=None, **given), values)
    num_classes = int(values.get("num_classes", _NUM_CLASSES))
    # Transformers are made for one size, convolutions are known by that of their weights.
    size = getattr(model, "image_size", None) or _crop_size(models.get_model_weights(name))
    shape = target.shape.input or (3, size, size)
    return _make_entry(model, shape, num_classes, settings.seed)


def _has_fixed_size(target: Target) -> bool:
    import timm

    try:
        config = timm.get_pretrained_cfg(target.name)
    except RuntimeError as error:  # a tag of weights that there are not, behind the name
        raise WorkloadError(
            f"target {target.text!r}: {message_of(error)}",
            hint=f"leave what follows the dot out: timm:{target.name.partition('.')[0]}",
        ) from error
    return config is not None and bool(config.fixed_input_size)


def _read_values(shape: InputShape) -> dict[str, Any]:
    values = {key: parse_literal(text) for key, text in shape.overrides.items()}
    if shape.classes is not None:
        values.setdefault("num_classes", shape.classes)
    for key in ("num_classes", "in_chans"):
        value = values.get(key, 1)
        if type(value) is not int or value < 0:
            raise SettingsError(
                f"{key}={shape.overrides[key]}: {key} is a whole number",
                hint=f"write it like {key}=10",
            )
    return values


def _make(target: Target, make: Callable[..., Any], values: dict[str, Any]) -> nn.Module:
    try:
        with warnings.catch_warnings():
            # Of what will be initialized otherwise some day: these weights stay as they are.
            warnings.simplefilter("ignore")
            model = make(**values)
    except Exception as error:
        _refuse_unknown_key(target, make, values, error)
        given = {key: str(value) for key, value in values.items()}
        raise making_failed(target, given, error) from error
    assert isinstance(model, nn.Module)
    return model


def _refuse_unknown_key(
    target: Target, make: Callable[..., Any], values: dict[str, Any], error: Exception
) -> None:
    key = next((key for key in values if f"unexpected keyword argument '{key}'" in str(error)), "")
    if not isinstance(error, TypeError) or not key:
        return
    known = inspect.signature(type(make()).__init__).parameters
    raise unknown_key_error(key, str(values[key]), known, owner=target.text) from error


def _unknown_model_error(target: Target, known: list[str]) -> WorkloadError:
    near = name_near(target.name, known)
    return WorkloadError(
        f"target {target.text!r}: {target.catalogue} has no model {target.name!r}",
        hint=f"did you mean {near}?" if near else f"name one, such as {target.catalogue}:resnet50",
    )


def _crop_size(weights: Any) -> int:
    default = getattr(weights, "DEFAULT", None)
    sizes = default.transforms.keywords.get("crop_size") if default is not None else None
    size = sizes[0] if isinstance(sizes, (list, tuple)) else sizes
    return int(size or _DEFAULT_SHAPE[-1])


def _make_entry(model: nn.Module, shape: tuple[int, ...], num_classes: int, seed: int) -> Entry:
    def make_batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn((batch_size, *shape), generator=generator)
        return images, torch.randint(num_classes, (batch_size,), generator=generator)

    text = "x".join(str(size) for size in shape)
    return Entry(
        model=model,
        make_batch=make_batch,
        data=f"random images {text}, {format_count(num_classes)} classes",
        loss=cross_entropy,
    )
