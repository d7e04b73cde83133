"""What else to change along with the batch size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeItem:
    """One setting at the recommended global batch size.

    Attributes:
        name: What to set, and by which rule.
        value: The figure; a factor where ``is_factor``. ``None`` where the rule gives none.
        is_factor: Whether the value multiplies what was set at the base batch size.
        formula: How it follows, with ``k`` the ratio of the global batch sizes, new to base.
        source: Where the rule is from.
        limit: Where it holds, and where it was not seen to.
    """

    name: str
    value: float | None
    is_factor: bool
    formula: str
    source: str
    limit: str
