"""From one batch size to one trial, on a real device, in a process that it may kill.

    free caches | warm up threads | reset peak | warm-up steps | timed steps ......... | read peak
                                    └─ budget enforced ──────────────────────────────┘
                                                 first one builds      until the median is known
                                                 optimizer state       to 2 % or the time is used

    parent: client ──requests──> worker: loads the target once, then for each trial
            <──replies──         forks a child (Linux, CPU), or runs it in place (GPUs, elsewhere)

    protocol     requests and replies              client, live   probers of a target, of objects
    trial/       what happens in a trial           worker/        the process that answers
    isolation/   keeps trials apart: a forked child, none, everything put back

A product hands over work of its own as a ``Job``, which takes the same way: measuring the noise
scale, or real training.

A forked child starts with the model loaded, an allocator without history and no copy to restore.
Whatever kills it, the worker lives on.
"""
