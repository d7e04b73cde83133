"""``timm:resnet50`` and ``torchvision:resnet50``: image classifiers with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autobatch.errors import WorkloadError
from autobatch.records import Settings
from autobatch.records.kinds import COUNT
from autobatch.units import format_count
from autobatch.workload.catalogues.entry import Entry, making_failed
from autobatch.workload.catalogues.values import name_near, parse_literal
from autobatch.workload.files import Target

_AUXILIARY_WEIGHT = 0.3  # Szegedy et al. 2014
_DEFAULT_SHAPE = (3, 224, 224)
_NUM_CLASSES = 1000  # of ImageNet


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

    Args:
        target: Names the model, its input and its values.
        settings: For the seed.

    Raises:
        WorkloadError: If there is none of this name, or it cannot be made.
        SettingsError: If the number of classes is none.
    """
    import timm

    name = target.name
    # Names with another source, such as hf_hub:..., would be downloaded.
    if not name or ":" in name or "/" in name or not timm.is_model(name):
        raise _unknown_model_error(target, timm.list_models())

    def make(**values: Any) -> Any:
        if target.shape.input is not None:
            values.setdefault("in_chans", target.shape.input[0])
            config = timm.get_pretrained_cfg(name)
            if config is not None and config.fixed_input_size:
                values.setdefault("img_size", target.shape.input[1:])
        return timm.create_model(name, **values)

    model, num_classes = _make(target, make)
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    shape = target.shape.input or tuple(config.get("input_size") or _DEFAULT_SHAPE)
    return _make_entry(model, shape, num_classes, settings.seed)


def load_torchvision(target: Target, settings: Settings) -> Entry:
    """Make a classifier that torchvision knows.

    Args:
        target: Names the model, its input and its values.
        settings: For the seed.

    Raises:
        WorkloadError: If there is none of this name, or it cannot be made.
        SettingsError: If the number of classes is none.
    """
    from torchvision import models

    name = target.name
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        raise _unknown_model_error(target, classifiers)
    make = partial(models.get_model, name, weights=None)
    model, num_classes = _make(target, make)
    # Transformers are made for one size, convolutions are known by that of their weights.
    size = getattr(model, "image_size", None) or _crop_size(models.get_model_weights(name))
    return _make_entry(model, target.shape.input or (3, size, size), num_classes, settings.seed)


def _make(target: Target, make: Callable[..., Any]) -> tuple[nn.Module, int]:
    """The model with the target's values in it, and the number of its classes."""
    values = {key: parse_literal(text) for key, text in target.shape.overrides.items()}
    if target.shape.classes is not None:
        values.setdefault("num_classes", target.shape.classes)
    num_classes: int = COUNT.read("num_classes", values.get("num_classes", _NUM_CLASSES))
    try:
        with warnings.catch_warnings():
            # Of what will be initialized otherwise some day: these weights stay as they are.
            warnings.simplefilter("ignore")
            model = make(**values)
    except Exception as error:
        raise making_failed(target, values, error) from error
    return model, int(getattr(model, "num_classes", num_classes))


def _unknown_model_error(target: Target, known: list[str]) -> WorkloadError:
    near = name_near(target.name, known)
    return WorkloadError(
        f"target {target.text!r}: {target.catalogue} has no image classifier {target.name!r}",
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
