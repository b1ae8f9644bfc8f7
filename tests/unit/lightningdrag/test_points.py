"""Where the points are, for the model."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from worker.engines.lightningdrag.points import Pairs, PointEmbedding, point_maps


def test_a_pairs_number_stands_on_its_two_pixels_alone() -> None:
    maps = point_maps(Pairs(((1, 2), (3, 4)), ((5, 6), (0, 0))), 8, 8)
    assert maps.nonzero().tolist() == [[0, 1, 2], [0, 3, 4], [1, 0, 0], [1, 5, 6]]
    assert maps[0, 3, 4] == 2
    assert maps[1, 5, 6] == 1


def test_the_later_pair_wins_a_shared_pixel() -> None:
    maps = point_maps(Pairs(((1, 2), (1, 2)), ((5, 6), (0, 0))), 8, 8)
    assert maps[0, 1, 2] == 2


@pytest.mark.parametrize("point", [(8, 0), (0, 8), (-1, 0), (0, -1)])
def test_a_point_outside_is_refused(point: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        point_maps(Pairs(((0, 0),), (point,)), 8, 8)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 handles, 1 targets"):
        point_maps(Pairs(((0, 0), (1, 1)), ((0, 0),)), 8, 8)


def test_the_embedding_has_thirteen_convolutions_and_four_levels() -> None:
    network = PointEmbedding(2)
    assert len(network.state_dict()) == 13
    shapes = [tuple(level.shape) for level in network(torch.zeros(1, 2, 64, 128))]
    assert shapes == [(1, 32, 8, 16), (1, 64, 4, 8), (1, 128, 2, 4), (1, 256, 1, 2)]


def test_the_embedding_at_its_public_width_has_75_million_weights() -> None:
    with torch.device("meta"):
        network = PointEmbedding(16)
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(75.5e6, rel=1e-3)
