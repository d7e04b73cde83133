"""Rounds and limits in, verdicts out; nothing here measures or loads torch.

    likeness   whether a baseline may be compared with at all
    looks      when to judge the rounds so far, and how sure to be
    location   rounds     --> their middle, and how well it is known
    timing     locations  --> verdicts on time
    memory     peaks      --> verdicts on memory
    hardware   what devices say of themselves --> verdicts on them

Each step can be called with hand-made records, and is in the tests.
"""
