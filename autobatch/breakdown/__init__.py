"""Where the memory goes: one training step, recorded storage by storage.

job      the request
record   storages as they come and go in a step: what each is, and which module made it
timeline the recorded step: what was there at its peak, and what the peak would be otherwise
measure  the step, in the worker
examine  when to ask
"""
