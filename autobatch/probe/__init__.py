"""One batch size to one trial, on a real device, in a process that may die of it.

    free caches | warm up threads | reset peak | warm-up steps | timed steps ......... | read peak
                                    └─ budget enforced ──────────────────────────────┘
                                                 first one builds      until the median is known
                                                 optimizer state       to 2 % or the time is used

    parent: client ──requests──> worker: loads the target once, then for each trial
            <──replies──         forks a child (Linux, CPU), or runs it in place (GPUs, elsewhere)

    protocol     what is asked and answered        client, live   who asks: of a target, of objects
    trial/       what happens in a trial           worker/        the process that answers
    isolation/   what keeps it from the next one: a forked child, none, all put back

A product brings work of its own along as a ``Job``, which goes the same way: a noise scale, or
training for real.

A forked child starts with the model loaded, an allocator without history and no copy to restore,
and whatever becomes of it, the worker lives on.
"""
