"""``plan()``: what fits on GPUs that are not here, for code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autobatch.planning.records import Plan, PlanSettings
from autobatch.planning.session import plan_target
from autobatch.records import Precision, Settings
from autobatch.records.options import read_keywords
from autobatch.reporting import load


def plan(
    target: str,
    *,
    gpu: str | Sequence[str] | None = None,
    gpu_memory: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    price: Mapping[str, float] | None = None,
    expandable_segments: bool = False,
    calibration: str | None = None,
    precision: Precision | str = Precision.FP32,
    gradient_accumulation_steps: int = 1,
    num_devices: int = 1,
) -> Plan:
    """Predict which batch sizes fit on GPUs that are not here, without running anything on one.

    Example:
        plan = autobatch.plan("model.py", gpu=["rtx-4090", "a100-40gb"], batch_size=64)
        print(plan.choice, plan.cards[0].largest)

    Args:
        target: As of the command line: ``model.py``, ``model.py:name``, ``hf:bert``.
        gpu: Names of GPUs, or ``all``; those that are rented most if left out.
        gpu_memory: GPUs by memory and compute capability, such as ``24GiB:8.9``.
        batch_size: Say whether this size fits, too.
        price: Price of a GPU by its name: the cheapest that fits is chosen.
        expandable_segments: The allocator's setting of that name.
        calibration: A finding of a probe on one of the GPUs, saved as JSON.
        precision: Arithmetic of a step.
        gradient_accumulation_steps: Passes per optimizer step.
        num_devices: Devices that train together, under DDP.

    Returns:
        A plan, which prints as the command line does.

    Raises:
        SettingsError: If an option cannot be used, or a GPU is not known.
        WorkloadError: If the target cannot be traced; names the operator.
    """
    cards = {
        "gpu": gpu,
        "gpu_memory": gpu_memory,
        "batch_size": batch_size,
        "price": price,
        "expandable_segments": expandable_segments,
        "calibration": calibration,
    }
    training = {
        "precision": precision,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "num_devices": num_devices,
    }
    asked = read_keywords(PlanSettings, cards, caller="plan")
    shared = read_keywords(Settings, training, caller="plan")
    finding = None if calibration is None else load(calibration)
    return plan_target(target, Settings(**shared), PlanSettings(**asked), finding=finding)
