"""``autobatch check``: holds a target, the hardware or both against requirements.

    cli, options, requirements_file   what is asked              --> CheckSettings
    start                             processes that measure     --> a session in them
    session                           rounds of the target, in turn with a reference if there is
                                      one, until all is decided  --> Measurement
    judge/                            rounds, peaks, devices     --> Verdicts
    report/                           CheckReport                --> text, JSON, JUnit
                                      Measurement                --> a baseline, and back

``records`` has what travels between them. ``hardware`` asks the devices, ``all_reduce`` times what
they exchange, ``reference`` is what is timed in turn with the target, and ``live`` makes a target
of live objects for the pytest plugin.
"""
