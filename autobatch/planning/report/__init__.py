"""What a plan looks like to a person and to a machine."""

from autobatch.planning.report.document import PLAN, SNAPSHOT_PLAN
from autobatch.planning.report.plot import save_plan_plot
from autobatch.planning.report.snapshot_text import render_snapshot_plan
from autobatch.planning.report.text import render_plan

__all__ = ["PLAN", "SNAPSHOT_PLAN", "render_plan", "render_snapshot_plan", "save_plan_plot"]
