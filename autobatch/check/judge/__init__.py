"""Numbers and limits in, verdicts out; nothing here measures or loads torch.

    looks           when to look at the rounds, and how sure to be at each look
    location        rounds in, their middle and its error out
    timing          verdicts on time
    memory          verdicts on memory
    hardware        verdicts on devices, from what they say of themselves
    likeness        whether a baseline may be compared with at all

Each step can be called with hand-made records, and is in the tests.
"""
