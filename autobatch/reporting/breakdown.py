"""Where the memory of a step goes, as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from autobatch import units
from autobatch.records import MemoryBreakdown
from autobatch.reporting.tables import Row, labelled

_PARTS = {
    "weights": "weights_bytes",
    "gradients": "gradients_bytes",
    "optimizer state": "optimizer_bytes",
    "activations": "activations_bytes",
    "logits and loss": "logits_bytes",
    "temporaries": "temporaries_bytes",
    "batch": "batch_bytes",
    "other tensors": "other_bytes",
    "workspace": "workspace_bytes",
    "kept by allocator": "cached_bytes",
    "operator buffers": "buffer_bytes",
    "loader workers": "loader_bytes",
}


def breakdown_blocks(breakdown: MemoryBreakdown) -> Iterator[RenderableType]:
    """The parts of the peak, the modules that hold most, and what would free most."""
    yield Text("Where the memory goes", style="bold")
    if breakdown.reason:
        yield Padding(Text(f"not known: {breakdown.reason}"), (0, 0, 0, 2))
        return
    yield labelled(_part_rows(breakdown))
    if breakdown.modules:
        yield Text("Activations by module", style="bold")
        yield labelled(
            (each.module, Text(f"{units.format_bytes(each.activation_bytes)} ({each.kind})"))
            for each in breakdown.modules
        )
    if breakdown.advice is not None:
        saved = units.format_bytes(breakdown.advice.saved_bytes)
        yield Text(f"Frees most: {breakdown.advice.what}, about {saved}.")


def _part_rows(breakdown: MemoryBreakdown) -> Iterator[Row]:
    for name, field in _PARTS.items():
        num_bytes = getattr(breakdown, field)
        if num_bytes:
            yield name, Text(_figure(num_bytes, breakdown.peak_bytes))
    rest = breakdown.unexplained_bytes
    sign = "-" if rest < 0 else ""
    yield "not accounted for", Text(sign + _figure(abs(rest), breakdown.peak_bytes))
    yield "measured peak", Text(units.format_bytes(breakdown.peak_bytes))


def _figure(num_bytes: int, whole_bytes: int) -> str:
    fraction = units.format_fraction(num_bytes / whole_bytes if whole_bytes else 0.0)
    return f"{units.format_bytes(num_bytes)}, {fraction}"
