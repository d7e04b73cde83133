"""A clock that only moves when told, and tasks built in place."""

from fixtures.tasks import *  # noqa: F403
