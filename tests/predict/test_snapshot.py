"""A trace exported as PyTorch writes its snapshots: read back as a recording, it must replay exactly."""

import pickle
import random

import pytest

from onecard.core.cost import Events
from onecard.core.units import MiB
from onecard.predict.allocator_settings import parse
from onecard.predict.recordings import Recording, Segment, replay
from onecard.predict.replay import replay as replay_events
from onecard.predict.snapshot import snapshot


def scattered(seed, count=400):
    """A random but fixed order of births and deaths of many sizes."""
    rng = random.Random(seed)
    sizes, order, alive = [], [], []
    while len(order) < count:
        if alive and rng.random() < 0.45:
            order.append(alive.pop(rng.randrange(len(alive))))
        else:
            alive.append(len(sizes))
            order.append(len(sizes))
            sizes.append(rng.choice([4, 2048, 300_000, 1 * MiB, 3 * MiB, 12 * MiB, 50 * MiB]))
    names = (("activations", "net.fc", "aten::mm"),)
    return Events(
        sizes=tuple(sizes), order=tuple(order), labels=(0,) * len(sizes), names=names, marks=((0, "forward"),)
    )


def as_recording(exported):
    segments = [
        Segment(
            s["address"],
            s["total_size"],
            s["stream"],
            [(b["state"], b["size"], b["requested_size"]) for b in s["blocks"]],
        )
        for s in exported["segments"]
    ]
    return Recording([(e["action"], e["size"], e["addr"], e["stream"]) for e in exported["device_traces"][0]], segments)


@pytest.mark.parametrize("seed", range(5))
def test_an_export_is_a_recording_that_replays_exactly(seed):
    events = scattered(seed)
    exported = pickle.loads(pickle.dumps(snapshot(events)))
    result = replay(as_recording(exported))
    assert result.exact
    assert result.start_reserved == 0
    assert result.peak_reserved == replay_events(events).peak_reserved


def test_pages_of_expandable_segments_replay_exactly():
    """A fresh process with expandable segments: segment_map events instead of segment_alloc."""
    settings = parse("expandable_segments:True")
    exported = snapshot(scattered(7), settings)
    recording = as_recording(exported)
    assert {e[0] for e in recording.events} >= {"segment_map", "alloc", "free_completed"}
    assert all(s["is_expandable"] for s in exported["segments"])
    result = replay(Recording(recording.events, []), settings)
    assert result.exact


def test_frames_name_phase_module_and_operator():
    first = snapshot(scattered(1))["device_traces"][0][0]
    assert first["action"] == "segment_alloc"
    assert [f["name"] for f in first["frames"]] == ["aten::mm", "net.fc", "activations", "forward"]


def test_segments_hold_exactly_what_lives_at_the_end():
    events = scattered(3)
    exported = snapshot(events)
    alive = {n for n in events.order if events.order.count(n) == 1}
    held = [b for s in exported["segments"] for b in s["blocks"] if b["state"] == "active_allocated"]
    assert sorted(b["requested_size"] for b in held) == sorted(events.sizes[n] for n in alive)
    assert all(sum(b["size"] for b in s["blocks"]) == s["total_size"] for s in exported["segments"])


def test_out_of_memory_ends_the_trace():
    last = snapshot(scattered(2), capacity=60 * MiB)["device_traces"][0][-1]
    assert last["action"] == "oom"
