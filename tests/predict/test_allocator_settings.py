"""Allocator settings as users write them, against what PyTorch's parser does with the same text."""

import pytest

from onecard.core.errors import BadSetting
from onecard.core.units import MiB
from onecard.predict.allocator import Allocator
from onecard.predict.allocator_settings import DEFAULT, parse


def test_the_usual_texts():
    assert parse("") == DEFAULT
    assert parse("expandable_segments:True").expandable_segments
    both = parse("max_split_size_mb:128, garbage_collection_threshold:0.8")
    assert both.max_split_size == 128 * MiB
    assert both.garbage_collection_threshold == 0.8
    assert parse("per_process_memory_fraction:0.5").memory_fraction == 0.5
    assert parse("pinned_use_background_threads:True") == DEFAULT


def test_divisions_by_interval():
    one = parse("roundup_power2_divisions:4").roundup_power2_divisions
    assert one == (4,) * 16
    by_size = parse("roundup_power2_divisions:[256:1,512:2,1024:4,>:8],expandable_segments:True")
    assert by_size.expandable_segments
    # 1 to 128 MiB take the first entry's, 256 MiB is entry 8; ">" starts at the last named interval
    assert by_size.roundup_power2_divisions == (1,) * 9 + (2,) + (8,) * 6


def test_rounding_of_1200_bytes_as_in_the_pytorch_notes():
    # "If we need to round-up size of 1200 and if number of divisions is 4, the size 1200 lies between 1024 and 2048 and
    # if we do 4 divisions between them, the values are 1024, 1280, 1536, and 1792" -> 1280; divisions only count above
    # 512 x divisions bytes, so the same ratio is asked for here at a thousand times the size.
    allocator = Allocator(parse("roundup_power2_divisions:4"))
    assert allocator.round(1200 * 1024) == 1280 * 1024
    assert allocator.round(1024 * 1024) == 1024 * 1024
    assert allocator.round(1200) == 1536  # below 512 x 4: the next multiple of 512
    assert Allocator().round(1200 * 1024) == 1200 * 1024


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_split_size_mb:10", "at least 20"),
        ("max_split_size_mb", "max_split_size_mb:128"),
        ("expandable_segments:yes", "expandable_segments:True"),
        ("garbage_collection_threshold:2", "fraction"),
        ("roundup_power2_divisions:3", "powers of two"),
        ("backend:cudaMallocAsync", "native"),
        ("max_split_mb:64", "max_split_size_mb"),
    ],
)
def test_what_pytorch_refuses_is_refused_with_the_next_step(text, says):
    with pytest.raises(BadSetting) as error:
        parse(text)
    assert says in str(error.value)
