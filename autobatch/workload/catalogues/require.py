"""What a target and the options beside it must be before a catalogue is asked. No PyTorch here."""

from __future__ import annotations

import importlib.util

from autobatch.errors import SettingsError, WorkloadError
from autobatch.records import Settings
from autobatch.workload.files import Target

# The module that each catalogue's models come from, which is also the name of its extra.
LIBRARIES = {"hf": "transformers", "timm": "timm", "torchvision": "torchvision"}


def require_usable(target: Target, settings: Settings) -> None:
    """Refuse options that a target has no use for, and a catalogue whose library is missing.

    Raises:
        SettingsError: For an option; repeats its value.
        WorkloadError: For a library; names the extra to install.
    """
    if not target.catalogue:
        _refuse_catalogue_options(target, settings)
        return
    library = LIBRARIES[target.catalogue]
    if importlib.util.find_spec(library) is None:
        raise WorkloadError(
            f"target {target.text!r} needs {library}, which is not installed",
            hint=f"pip install 'torch-autobatch[{library}]'",
        )
    if target.catalogue == "hf":
        _refuse_shape_options(target, settings)
    else:
        _refuse_token_options(target, settings)


def _refuse_catalogue_options(target: Target, settings: Settings) -> None:
    what = "a file" if target.is_file else "a module"
    if settings.overrides:
        key, value = next(iter(settings.overrides.items()))
        raise SettingsError(
            f"--set {key}={value} is for models of a catalogue, and {target.text!r} is {what}",
            hint="change the model where it is written, or take a target such as hf:gpt2",
        )
    if settings.sequence_length is not None:
        raise SettingsError(
            f"--sequence-length {settings.sequence_length} is for models of a catalogue, and "
            f"{target.text!r} is {what}",
            hint="describe the input with --input 512 --vocabulary 50257, or in the target",
        )


def _refuse_shape_options(target: Target, settings: Settings) -> None:
    if settings.input_shape is not None:
        shape = "x".join(str(size) for size in settings.input_shape)
        raise SettingsError(
            f"--input {shape}: {target.text!r} knows the shape of its input",
            hint="use --sequence-length for tokens, or --set image_size=... for images",
        )


def _refuse_token_options(target: Target, settings: Settings) -> None:
    if settings.sequence_length is not None:
        raise SettingsError(
            f"--sequence-length {settings.sequence_length}: {target.text!r} takes images",
            hint="give their shape, such as --input 3x320x320",
        )
    if settings.vocabulary_size is not None:
        raise SettingsError(
            f"--vocabulary {settings.vocabulary_size}: {target.text!r} takes images",
            hint="leave it out",
        )
    shape = settings.input_shape
    if shape is not None and len(shape) != 3:
        text = "x".join(str(size) for size in shape)
        raise SettingsError(
            f"--input {text}: {target.text!r} takes images",
            hint="give channels, height and width, such as --input 3x320x320",
        )
