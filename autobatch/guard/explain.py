"""An out-of-memory error, explained in a few lines."""

from __future__ import annotations

import textwrap

from autobatch.errors import error_chain
from autobatch.guard.memory import (
    Held,
    describe_output,
    find_tensors_of_process,
    read_asked_bytes,
    read_device_name,
    read_held,
)
from autobatch.guard.scene import Scene, describe, read_scene
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.units import format_bytes, format_count
from autobatch.workload.tensors import find_tensors

TITLE = "autobatch: why memory ran out"


def explain(error: BaseException) -> str | None:
    """Say what was being made, what was resident, which limit bound and what would have fitted.

    Args:
        error: An exception whose frames still exist.

    Returns:
        Lines of text, or ``None`` for an exception of another kind.
    """
    if not is_out_of_memory(error):
        return None
    # The first in the chain that says so was raised where memory ran out.
    first = [each for each in error_chain(error) if is_out_of_memory(each)][-1]
    scene = read_scene(dict.fromkeys((error.__traceback__, first.__traceback__)))
    asked_bytes = read_asked_bytes(first)
    device_name = read_device_name(first, scene.model)
    held = read_held(scene, device_name)
    rows = {
        "being made": _say_what_was_made(scene, asked_bytes),
        "from": _say_inputs(scene),
        "resident": _say_what_was_held(scene, held, device_name),
        "limit": _say_limit(held),
        "batch size": _say_size(scene, held, asked_bytes),
    }
    lines = [_wrap(name, text) for name, text in rows.items() if text]
    return "\n".join(["", TITLE, *lines])


def _wrap(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        100,
        initial_indent=f"  {name:<11} ",
        subsequent_indent=" " * 14,
        break_long_words=False,
    )


def estimate_size(batch_size: int, held: Held, asked_bytes: int) -> int | None:
    """The power of two that would have fitted, if all but the fixed part grows with the batch.

    Args:
        batch_size: The size that failed.
        held: What was held then.
        asked_bytes: What was asked for on top.

    Returns:
        A size below the one that failed, 0 if none would fit; ``None`` if it cannot be told.
    """
    if held.own_bytes is None or held.bound is None:
        return None
    room_bytes = held.bound.available_bytes - held.fixed_bytes
    if room_bytes <= 0:
        return 0
    growing_bytes = held.own_bytes + asked_bytes - held.fixed_bytes
    if growing_bytes <= room_bytes:  # fragments, or memory that has been given back since
        return None
    most = int(batch_size * room_bytes / growing_bytes)
    return 2 ** (most.bit_length() - 1) if most else 0


def _say_what_was_made(scene: Scene, asked_bytes: int | None) -> str:
    size = "a tensor" if asked_bytes is None else format_bytes(asked_bytes)
    shape = None
    if scene.stepping is not None:
        where = f"in the step of {type(scene.stepping).__name__}"
    elif scene.is_backward:
        where = "in the backward pass"
    elif scene.running is not None:
        where = f"in the forward pass of {scene.name_of(scene.running)}"
        shape = asked_bytes and describe_output(scene, asked_bytes)
        if shape:
            return f"{size} {where}: its output, {shape}"
    else:
        return size
    alike = asked_bytes and scene.name_parameter_of(asked_bytes)
    return f"{size} {where}" + (f", as large as {alike}" if alike else "")


def _say_inputs(scene: Scene) -> str:
    if scene.is_backward or scene.stepping is not None:
        return ""
    inputs = find_tensors(scene.arguments)
    return ", ".join(f"{describe(each)} ({format_bytes(each.nbytes)})" for each in inputs[:3])


def _say_what_was_held(scene: Scene, held: Held, device_name: str) -> str:
    own = "" if held.own_bytes is None else f"{format_bytes(held.own_bytes)}: "
    if scene.model is None:
        tensor_bytes, largest = find_tensors_of_process(device_name)
        of = "" if largest is None else f", the largest of them {describe(largest)}"
        return f"{own}tensors {format_bytes(tensor_bytes)}{of}"
    parts = {
        "weights": held.weight_bytes,
        "gradients": held.gradient_bytes,
        "optimizer state": held.optimizer_bytes,
    }
    if held.own_bytes is not None:
        parts["activations and all else"] = max(0, held.own_bytes - sum(parts.values()))
    return own + ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())


def _say_limit(held: Held) -> str:
    bound = held.bound
    if bound is None or held.own_bytes is None:
        return ""
    limit = f"{bound.name}, {format_bytes(bound.capacity_bytes)}"
    if bound.available_bytes == bound.capacity_bytes:  # it does not count all that is resident
        return limit
    return f"{limit}; {format_bytes(max(0, bound.available_bytes - held.own_bytes))} left"


def _say_size(scene: Scene, held: Held, asked_bytes: int | None) -> str:
    # What an optimizer makes does not depend on the batch size.
    if scene.batch_size is None or asked_bytes is None or scene.stepping is not None:
        return ""
    size = estimate_size(scene.batch_size, held, asked_bytes)
    if size is None:
        return ""
    failed = format_count(scene.batch_size)
    if size == 0:
        return f"not even 1 would have fitted instead of {failed}, by an estimate"
    has_state = scene.optimizer is None or bool(scene.optimizer.state)
    is_whole = scene.is_backward and has_state
    bound = "about" if is_whole else "at most"
    why = "" if is_whole else "; the rest of the step needs more"
    return (
        f"{bound} {format_count(size)} would have fitted instead of {failed}: an estimate, with "
        f"activations in proportion{why}; autobatch.find_batch_size measures it"
    )
