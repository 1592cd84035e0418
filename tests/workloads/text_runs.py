"""For the tests of text workloads: a device that is too small from some micro-batch on, and checkpoints to the bit."""

import torch

from onecard.core.errors import OutOfMemory
from onecard.engines import checkpoint, text_run


def same(a, b):
    """Whether the last checkpoints of two folders hold the same net and optimizer, to the bit."""
    (one, left), (two, right) = checkpoint.load(a), checkpoint.load(b)
    nets = all(torch.equal(left["net"][k], right["net"][k]) for k in left["net"])
    states = left["optimizer"]["state"], right["optimizer"]["state"]
    return (
        one.step == two.step
        and nets
        and all(torch.equal(states[0][i][k], states[1][i][k]) for i in states[0] for k in states[0][i])
    )


def too_small(monkeypatch, phase, most, since):
    """From step `since` on, `phase` has no memory for more than `most` rows at once."""
    now = {"step": 0, "micro": 0}

    def limited(function, name, state_of):
        def call(*args, **kwargs):
            state = state_of(args)
            if state is not None:
                now.update(step=state.step, micro=state.course.micro)
            if name == phase and now["micro"] > most and now["step"] >= since:
                raise OutOfMemory(f"injected in {name}")
            return function(*args, **kwargs)

        return call

    from onecard.engines import text_labels, text_pairs

    monkeypatch.setattr(text_run, "step", limited(text_run.step, "train", lambda a: a[0]))
    evaluate = limited(text_run.evaluate, "evaluate", lambda a: a[0])
    for module in (text_run, text_labels, text_pairs):
        monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(text_pairs.Pairs, "write", limited(text_pairs.Pairs.write, "write", lambda a: a[1]))
    monkeypatch.setattr(checkpoint, "save", limited(checkpoint.save, "save", lambda a: None))
