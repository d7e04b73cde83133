"""Findings and tasks made by hand."""

from fixtures.findings import *  # noqa: F403
from fixtures.tasks import *  # noqa: F403
