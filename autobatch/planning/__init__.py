"""What fits on GPUs that are not here: traced on this CPU, replayed through their allocator.

    target --> trace --> largest size on each card, peak there --> the card to take
    snapshot of a GPU --> replayed under other settings, with other memory

Nothing of it runs on a GPU, and every report says so.
"""
