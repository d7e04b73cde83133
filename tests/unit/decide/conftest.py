"""Records made by hand."""

from fixtures.records import *  # noqa: F403
