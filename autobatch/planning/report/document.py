"""A plan as a JSON document, and back."""

from __future__ import annotations

import msgspec

from autobatch.planning.records import Plan, SnapshotPlan
from autobatch.reporting.codec import Codec, Document
from autobatch.reporting.validate import first_range_complaint


def _write(plan: Plan | SnapshotPlan) -> Document:
    # Said in the document itself: its figures look like those of a finding, which were measured.
    return {"was_run": False, "fits": plan.fits, **msgspec.to_builtins(plan)}


def _find_fault(plan: Plan) -> tuple[str, str] | None:
    lengths = {len(each) for each in plan.timeline.parts_bytes.values()}
    if lengths != {len(plan.timeline.positions)}:
        return "timeline.parts_bytes", "expected as many figures as positions"
    names = {each.gpu for each in plan.cards}
    if not names:
        return "cards", "expected at least one"
    if plan.choice is not None and plan.choice not in names:
        return "choice", "expected one of the cards"
    return first_range_complaint(plan.cards)


PLAN = Codec(
    version=1,
    version_key="plan_version",
    type=Plan,
    what="a plan",
    redo="make it again with autobatch plan TARGET -o FILE",
    instead="make one with autobatch plan TARGET -o FILE",
    write=_write,
    find_fault=_find_fault,
)


def _find_snapshot_fault(plan: SnapshotPlan) -> tuple[str, str] | None:
    names = [each.name for each in plan.limits]
    if not plan.variants:
        return "variants", "expected at least one"
    for index, variant in enumerate(plan.variants):
        if [each.limit for each in variant.at_limits] != names:
            return f"variants[{index}].at_limits", "expected one for each of the limits"
    return first_range_complaint(plan)


SNAPSHOT_PLAN = Codec(
    version=1,
    version_key="snapshot_plan_version",
    type=SnapshotPlan,
    what="a replayed snapshot",
    redo="make it again with autobatch plan `replay=SNAPSHOT` -o FILE",
    instead="make one with autobatch plan `replay=SNAPSHOT` -o FILE",
    write=_write,
    find_fault=_find_snapshot_fault,
)
