"""Records and tasks made by hand."""

from fixtures.records import *  # noqa: F403
from fixtures.tasks import *  # noqa: F403
