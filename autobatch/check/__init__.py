"""Joins measuring and judging: one target or one machine in, a ``CheckReport`` out.

hardware   what the devices say --> verdicts
reference  which step to time in turn with the target, and at which size
session    rounds of the target, in turn with the reference, until all is decided
start      starts the measuring processes for a target and runs a session in them
live       a workload made of live objects as a target

The command line and the pytest plugin both come in through ``start`` and ``hardware``.
"""
