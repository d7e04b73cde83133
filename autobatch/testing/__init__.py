"""A simulated device and workload, for tests of what builds on this package, and of itself.

Nothing in the package imports this.
"""

from autobatch.testing.device import SimulatedDevice
from autobatch.testing.simulated import SimulatedProber, SimulatedWorkload, make_environment

__all__ = ["SimulatedDevice", "SimulatedProber", "SimulatedWorkload", "make_environment"]
