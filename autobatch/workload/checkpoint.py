"""Other weights for the model, from a file that is never allowed to run code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError, message_of

# Where training scripts and frameworks keep the weights among other things.
_NESTED_KEYS = ("state_dict", "model_state_dict", "model", "module")
# What DistributedDataParallel, torch.compile and Lightning put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_MAX_SHOWN = 4


def load_checkpoint(model: nn.Module, path: str) -> None:
    """Load the weights of a checkpoint into a model, all of them or none.

    The file is read with ``weights_only=True``. It holds a state dict, or a dict that has one
    under ``state_dict``, ``model_state_dict``, ``model`` or ``module``; a prefix of all names
    that wrappers add is taken off.

    Args:
        model: The model; unchanged if anything does not match.
        path: File written by ``torch.save``.

    Raises:
        WorkloadError: If it cannot be read, or its names or shapes are not the model's.
    """
    model = getattr(model, "_orig_mod", model)
    expected = model.state_dict()
    found = _match_prefix(_find_state(_read(path), path), expected)
    complaints = list(_compare(found, expected))
    if complaints:
        raise WorkloadError(
            f"checkpoint {path} does not match {type(model).__name__}: {'; '.join(complaints)}",
            hint="give a checkpoint of this model, or change the model to suit it",
        )
    model.load_state_dict(found)


def _read(path: str) -> Any:
    try:
        if Path(path).suffix == ".safetensors":
            raise WorkloadError(
                f"checkpoint {path} is in the safetensors format",
                hint="save it with torch.save(model.state_dict(), FILE)",
            )
        with warnings.catch_warnings():
            # PyTorch warns of what it then refuses, or reads well.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WorkloadError(
            f"cannot read checkpoint {path}: {reason}", hint="check the path"
        ) from error
    except pickle.UnpicklingError as error:
        raise WorkloadError(
            f"checkpoint {path} holds more than weights, or is not a checkpoint: "
            f"{message_of(error).strip().splitlines()[0]:.200}",
            hint="save the weights alone, with torch.save(model.state_dict(), FILE)",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = (message_of(error).strip().splitlines() or ["it ends too early"])[0]
        raise WorkloadError(
            f"checkpoint {path} cannot be read: {reason:.200}",
            hint="make it again with torch.save(model.state_dict(), FILE)",
        ) from error


def _find_state(loaded: Any, path: str) -> dict[str, torch.Tensor]:
    nested = [loaded[key] for key in _NESTED_KEYS if isinstance(loaded, Mapping) and key in loaded]
    for candidate in (loaded, *nested):
        if _is_state(candidate):
            return {name: value for name, value in candidate.items() if torch.is_tensor(value)}
    what = f"a dict of {_join(map(str, loaded))}" if isinstance(loaded, Mapping) else None
    raise WorkloadError(
        f"checkpoint {path} holds no weights: it is {what or f'a {type(loaded).__name__}'}",
        hint="save the weights with torch.save(model.state_dict(), FILE)",
    )


def _is_state(value: Any) -> bool:
    """Whether every entry is a tensor; ``_extra_state`` of a module may be anything."""
    if not isinstance(value, Mapping) or not value:
        return False
    names = [name for name in value if not str(name).endswith("_extra_state")]
    return bool(names) and all(torch.is_tensor(value[name]) for name in names)


def _match_prefix(
    found: dict[str, torch.Tensor], expected: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    for prefix in _PREFIXES:
        if set(found) & set(expected):
            break
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _compare(found: Mapping[str, torch.Tensor], expected: Mapping[str, Any]) -> Iterable[str]:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    if missing:
        yield f"it lacks {_join(missing)}"
    if unexpected:
        yield f"the model has no {_join(unexpected)}"
    shapes = [
        f"{name} ({_shape(value)} in the file, {_shape(expected[name])} in the model)"
        for name, value in found.items()
        if name in expected and _shape(value) != _shape(expected[name])
    ]
    if shapes:
        yield f"other shapes: {_join(shapes)}"


def _shape(tensor: Any) -> str:
    return "x".join(map(str, getattr(tensor, "shape", ()))) or "a number"


def _join(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
    return ", ".join(listed[:_MAX_SHOWN]) + more
