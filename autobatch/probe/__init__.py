"""One batch size to one trial, on a real device, in a process that may die of it.

    free caches | warm up threads | reset peak | warm-up steps | timed steps ......... | read peak
                                    └─ budget enforced ──────────────────────────────┘
                                                 first one builds      until the median is known
                                                 optimizer state       to 2 % or the time is used

    parent: client ──requests──> worker: loads the target once, then for each trial
            <──replies──         forks a child (Linux, CPU), or runs it in place (GPUs, elsewhere)

The gradient noise scale, a look at what a step is made of and training for real go the same way,
with other work in the child.

A forked child starts with the model loaded, an allocator without history and no copy to restore,
and whatever becomes of it, the worker lives on.
"""
