from __future__ import annotations

import numpy as np

from glmc_zoo.data.sources import open_digits


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    raw = open_digits()
    assert raw.test is not None
    assert np.bincount(raw.test.labels[raw.test.rows]).tolist() == [60] * 10
    assert len(raw.train.rows) + len(raw.test.rows) == 1797
    assert not set(raw.train.rows) & set(raw.test.rows)
    digits = load_digits()
    rows = raw.test.rows[:20]
    got = np.stack([np.asarray(image) for image in raw.test.source.read(rows)])
    assert got.shape == (20, 8, 8, 3)
    np.testing.assert_allclose(got[..., 0] / 255, digits.images[rows] / 16, atol=0.5 / 255 + 1e-9)
    assert (got == got[..., :1]).all()
    assert (raw.test.labels == digits.target).all()
