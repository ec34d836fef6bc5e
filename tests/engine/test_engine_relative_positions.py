"""MPNet's relative positions, against transformers' own function."""

import numpy as np
import pytest

from pruneofa.engine.relative_positions import bias_by_distance, buckets


def test_small_distances_have_buckets_of_their_own():
    assert buckets(np.arange(-8, 9), 32).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23, 24]


@pytest.mark.parametrize("count", [8, 32, 64])
def test_every_distance_has_the_bucket_that_transformers_gives_it(count):
    torch = pytest.importorskip("torch", reason="needs torch and transformers: pip install 'pruneofa[train]'")
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = np.arange(-2000, 2001)
    expected = MPNetEncoder.relative_position_bucket(torch.as_tensor(distances), num_buckets=count).numpy()
    assert np.array_equal(buckets(distances, count), expected)


def test_bias_lies_by_head_and_distance():
    table = np.arange(32 * 3, dtype=np.float32).reshape(32, 3)
    spread = bias_by_distance(table, 20).reshape(3, 39)
    for head in range(3):
        for distance in range(-19, 20):
            assert spread[head, distance + 19] == table[buckets(np.array(distance), 32), head]
