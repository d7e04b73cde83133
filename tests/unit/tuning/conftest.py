"""Tasks built in place."""

from fixtures.tasks import *  # noqa: F403
