from __future__ import annotations

from glmc_zoo.data.reading.spread import evenly_spaced, spread


def test_positions_are_spread_evenly() -> None:
    assert evenly_spaced(80, 8).tolist() == [round(79 * i / 7) for i in range(8)]
    assert evenly_spaced(3, 8).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 8).tolist() == [] and evenly_spaced(5, 1).tolist() == [0]


def test_images_are_spread_over_splits_of_any_size() -> None:
    everything = [(0, 0), (0, 1), (2, 0), (3, 0), (3, 1), (3, 2)]
    assert list(spread([2, 0, 1, 3], 9)) == everything and list(spread([2, 0, 1, 3], 6)) == everything
    assert list(spread([2, 0, 1, 3], 2)) == [(0, 0), (3, 2)]
    assert list(spread([], 3)) == list(spread([0, 0], 3)) == []
