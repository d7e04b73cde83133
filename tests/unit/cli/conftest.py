"""Findings made by hand."""

from fixtures.findings import *  # noqa: F403
