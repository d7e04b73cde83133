"""``hf:gpt2``: a transformer from the library's own configuration classes, with random weights.

hf:gpt2                            the language model that GPT-2 is
hf:bert:sequence-classification    another head on it
"""

from __future__ import annotations

import importlib
import inspect
import os
from typing import Any

import torch
from torch import nn

from autobatch.devices.cpu import CpuDevice
from autobatch.errors import SettingsError, WorkloadError
from autobatch.records import Axis, Settings
from autobatch.units import format_bytes, format_count
from autobatch.workload.along import count_positions
from autobatch.workload.catalogues.entry import Entry, making_failed
from autobatch.workload.catalogues.heads import HEADS, Head, SampleShape
from autobatch.workload.catalogues.values import name_near, parse_overrides
from autobatch.workload.files import Target

_MAX_DEFAULT_LENGTH = 1024
_DEFAULT_IMAGE_SIZE = 224


def load_hugging_face(target: Target, settings: Settings, *, needs_room: bool = True) -> Entry:
    """Make a model from a configuration class.

    Args:
        target: Names the model type, the head and values of the configuration.
        settings: For the seed.
        needs_room: Whether a model larger than this machine's memory is refused.

    Raises:
        WorkloadError: If there is no such model type or head, or it cannot be made.
        SettingsError: If a value does not go with the configuration, or the sequences are longer
            than the model's positions.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    transformers: Any = importlib.import_module("transformers")
    model_type, _, head_name = target.name.partition(":")
    config = _make_configuration(target, model_type)
    head = _find_head(target, config, head_name)
    _prepare_for_training(config, head)
    if needs_room:
        _require_room(target, config, head)
    try:
        model: nn.Module = getattr(transformers, head.auto_class).from_config(config)
    except Exception as error:
        raise making_failed(target, _overrides_of(target), error) from error
    guesses = [] if head_name else [f"{head.name} as the task of {model_type}"]
    if head.takes_images:
        shape = _shape_of_images(target, config)
    else:
        length, guess = _choose_length(target, model)
        guesses += [guess] if guess and settings.axis is not Axis.SEQUENCE_LENGTH else []
        shape = _shape_of_tokens(model, length)
    return Entry(
        model=model,
        make_batch=lambda num: head.make_batch(shape, num, settings.seed),
        data=head.describe(shape),
        guesses=tuple(guesses),
    )


def _overrides_of(target: Target) -> dict[str, str]:
    shape = target.shape
    usual = {"vocab_size": shape.vocabulary, "num_labels": shape.classes}
    given = {key: str(size) for key, size in usual.items() if size is not None}
    return {**given, **shape.overrides}


def _make_configuration(target: Target, model_type: str) -> Any:
    """The library's configuration of a model type, with the target's values in it."""
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        near = name_near(model_type, CONFIG_MAPPING)
        raise WorkloadError(
            f"target {target.text!r}: transformers has no model type {model_type!r}",
            hint=f"did you mean {near}?" if near else "name a model type, such as hf:gpt2",
        )
    config_class = CONFIG_MAPPING[model_type]
    overrides = _overrides_of(target)
    try:
        plain = config_class()
        own = {**plain.to_dict(), "num_labels": plain.num_labels}
        # By each of the names that the configuration knows a value under.
        aliases = {alias: own[key] for alias, key in plain.attribute_map.items() if key in own}
        values = parse_overrides(overrides, {**own, **aliases}, owner=config_class.__name__)
        return config_class(**values)
    except SettingsError:
        raise
    except Exception as error:
        raise making_failed(target, overrides, error) from error


def _find_head(target: Target, config: Any, name: str) -> Head:
    import transformers

    there = [
        head
        for head in HEADS
        if type(config) in getattr(transformers, head.auto_class)._model_mapping
    ]
    if getattr(config, "is_encoder_decoder", False) and not name:
        there = [head for head in there if head.name == "seq2seq-lm"]
    found = next((head for head in there if name in ("", head.name)), None)
    if found is not None:
        return found
    names = ", ".join(head.name for head in there)
    if not names:
        raise WorkloadError(
            f"target {target.text!r}: there are no random batches for {type(config).__name__}, "
            "which is neither a language model nor an image classifier",
            hint="write a file with the model and a function batch(batch_size)",
        )
    raise WorkloadError(
        f"target {target.text!r}: {type(config).__name__} has no {name!r}",
        hint=f"it has {names}",
    )


def _prepare_for_training(config: Any, head: Head) -> None:
    text = config.get_text_config()
    text.use_cache = False  # for generation alone; the library's Trainer turns it off too
    if getattr(text, "pad_token_id", None) is None and head.name == "sequence-classification":
        end = getattr(text, "eos_token_id", None)
        text.pad_token_id = end if isinstance(end, int) else 0
    if getattr(text, "decoder_start_token_id", None) is None and head.name == "seq2seq-lm":
        # How T5 and its kin begin.
        text.decoder_start_token_id = getattr(text, "pad_token_id", None) or 0


def _require_room(target: Target, config: Any, head: Head) -> None:
    """Refuse weights that would take all memory before there is a trial to measure it."""
    import transformers

    try:
        with torch.device("meta"):
            outline = getattr(transformers, head.auto_class).from_config(config)
    except Exception:
        return  # some cannot be made without values; whatever is wrong is found by making it
    num_parameters = sum(each.numel() for each in outline.parameters())
    num_bytes = sum(each.numel() * each.element_size() for each in outline.parameters())
    bound = min(CpuDevice().bounds(None), key=lambda bound: bound.available_bytes)
    if num_bytes > bound.available_bytes:
        raise WorkloadError(
            f"target {target.text!r} has {format_count(num_parameters)} parameters: "
            f"{format_bytes(num_bytes)} of weights, and {format_bytes(bound.available_bytes)} "
            f"are available ({bound.name})",
            hint=f"make it smaller, such as {target.text},num_hidden_layers=2",
        )


def _choose_length(target: Target, model: nn.Module) -> tuple[int, str]:
    asked = target.shape.sequence_length
    limit = count_positions(model)
    if asked is not None and limit is not None and asked > limit:
        raise SettingsError(
            f"target {target.text!r}: sequence_length={asked} is more than its {limit} positions",
            hint=f"use {limit} or less, or add max_position_embeddings={asked}",
        )
    if asked is not None:
        return asked, ""
    length = min(limit or _MAX_DEFAULT_LENGTH, _MAX_DEFAULT_LENGTH)
    return length, f"sequences of {format_count(length)} tokens (change it with sequence_length=)"


def _shape_of_tokens(model: Any, length: int) -> SampleShape:
    return SampleShape(
        vocabulary_size=model.config.get_text_config().vocab_size,
        sequence_length=length,
        num_labels=model.config.num_labels,
        takes_mask="attention_mask" in inspect.signature(model.forward).parameters,
    )


def _shape_of_images(target: Target, config: Any) -> SampleShape:
    if target.shape.sequence_length is not None:
        raise SettingsError(
            f"target {target.text!r}: the model takes images, which have no sequence_length",
            hint="leave it out; image_size= changes their size where the model has one",
        )
    size = getattr(config, "image_size", None) or _DEFAULT_IMAGE_SIZE
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(config, "num_channels", None) or 3
    return SampleShape(image_shape=(channels, height, width), num_labels=config.num_labels)
