"""Measuring an unedited command: any script that trains with PyTorch, started from outside.

    template   the command, with a place for the batch size      settings   how to run it
    launch     starts it, the hook in its PYTHONPATH              enter      protects its files
    hook/      in each of its Python processes: what happens there, as events
    events     the events, received                               steps      events -> steps
    run        one start, until its whole family is ended         family     that family
    measure    a run -> a trial                                   resident   sizes in one run
    effect     did the size take effect                           describe   what is trained
    prober     all that, behind the protocol of every prober      finish     completes the finding

The script is not edited, not imported, and not asked to stop: it is watched, and killed.
"""
