import numpy as np

from unshuffle.grouping.edges import rival_scores


def test_rivals_share_a_layer_with_the_pair():
    scores = np.arange(6.0).reshape(2, 3)
    rivals = rival_scores(scores, [(0, 2), (1, 1)], square=False)
    np.testing.assert_array_equal(rivals, [[0, 1, np.nan, np.nan, 5], [3, np.nan, 5, 1, np.nan]])


def test_a_piece_is_no_rival_with_itself():
    scores = np.arange(9.0).reshape(3, 3)
    (rivals,) = rival_scores(scores, [(0, 1)], square=True)
    np.testing.assert_array_equal(rivals, [np.nan, np.nan, 2, np.nan, np.nan, 7])
    assert scores[1, 1] == 4  # the scores themselves are left alone
