"""Findings made by hand, and tasks built in place."""

from fixtures.findings import *  # noqa: F403
from fixtures.tasks import *  # noqa: F403
