"""What both panels share: colours, a batch size axis with plain ticks, a legend below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, RED, GREEN, GREY = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#666666"
PURPLE, SKY, YELLOW = "#cc79a7", "#56b4e9", "#f0e442"
#: Of lines of which any may be there, in the order in which they are given away.
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW)

_MAX_TICKS = 9
_MARGIN = 1.35
# Labels of sizes closer than this would overlap.
_APART = 1.2


def dress(axes: Axes, sizes: Sequence[int], noun: str = "batch size") -> None:
    """Give a panel its axis of sizes, its grid and its legend.

    Args:
        axes: A panel with everything drawn.
        sizes: The sizes that it must show, at least one.
        noun: What they are.
    """
    from matplotlib.ticker import NullLocator

    axes.set_xlabel(noun)
    axes.set_xscale("log", base=2)
    low, high = min(sizes), max(sizes)
    axes.set_xlim(low / _MARGIN, high * _MARGIN)
    set_power_ticks(axes.xaxis, low / _MARGIN, high * _MARGIN, fallback=(low, high))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not axes.get_legend_handles_labels()[0]:
        return
    # Below the panel it hides no point, wherever the points are.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)


def set_power_ticks(axis: Any, low: float, high: float, fallback: tuple[float, float]) -> None:
    """Tick a logarithmic axis at powers of two, as plain numbers.

    Args:
        axis: The x or y axis of a panel.
        low: Where it begins.
        high: Where it ends.
        fallback: Two values to tick where there are not two powers of two between.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    every = max(1, math.ceil((last - first + 1) / _MAX_TICKS))
    # Counted from 2**0, so that thinned ticks read 1, 4, 16 whatever the range.
    ticks = [2.0**power for power in range(first, last + 1) if power % every == 0]
    if len(ticks) < 2:
        start, end = fallback
        ticks = [start, end] if end / start > _APART else [end]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(plain_number)
    axis.set_minor_locator(NullLocator())


def plain_number(value: float, _position: float | None = None) -> str:
    """A tick's label: never a power of ten."""
    return f"{value:,.10g}"


def spaced_sizes(sizes: Sequence[int], num_points: int = 200) -> list[float]:
    """Space points evenly on a logarithmic axis.

    Args:
        sizes: Batch sizes; the points run from the smallest to the largest.
        num_points: Steps between the two.
    """
    if not sizes:
        return []
    low, high = math.log2(min(sizes)), math.log2(max(sizes))
    return [2 ** (low + (high - low) * step / num_points) for step in range(num_points + 1)]
