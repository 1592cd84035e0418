"""Peak memory and operations of any PyTorch step without a GPU: the real code runs once on fake tensors of a fake card.

    fake_cuda/      makes a PyTorch without a card accept tensors on `cuda`, and answer as a given card would
    profiles.py     what of a card matters to a trace: capability, multiprocessors, memory; classes of alike cards
    attention.py    which attention kernel such a card takes
    tracker.py      sees every operation: births and deaths of storages, what each operation costs
    scratch.py      memory that kernels take for themselves, which no trace on fake tensors can show
    values.py       real values beside small fake tensors, for code that looks at them
    session.py      all of it together: runs a step, returns a Cost
    target.py, launch.py, child.py, cache.py    which code, in which process, and remembering the answer

Only `target`, `launch` and `cache` are imported outside the child process; the others import torch.
"""
