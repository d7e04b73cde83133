"""How a batch size is decided: trials in, the next run or the answer out. No PyTorch here.

decision   trials that fitted -> throughputs, the knee, what is still in doubt
rates      throughput of every size with its uncertainty, by one mixed model
curve      step time against batch size
action     what to do next: climb, race, final run, finish
step       the next size of the climb       stop      when larger sizes need not run
race       which sizes to time in turn      choice    the size to train with, and why
grid       candidate sizes                  bracket   what the trials say about the memory limit
memory     peak against batch size          lengths   peak against batch size and length
numbers    every tuned number

``docs/architecture.md`` explains it on one page, with an example.
"""
