"""The settings beside the batch size that train fastest in this memory, each with its own size.

    start | one lever at a time | winners together | pairs | in turn, in fresh processes
    '- each: true to the start? -> its own batch-size search -> timed in turn with the start

records  what is asked, and what came of it     levers   what can be put on, and taken off again
search   which settings to try next; pure       session  tries them
truth    the same loss, gradients and buffers?  probers  a prober of a workload with levers on
recipe   the settings as text to paste          report/  ladder, plot, document
"""
