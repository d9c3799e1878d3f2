"""Extremes of labels: see `grid`."""

import pytest

from extremes.grid import cases_of, judge_case, named

pytestmark = pytest.mark.filterwarnings("ignore")  # what is worth a note is not judged here


@pytest.mark.parametrize("case", cases_of("multi-label", "single-label"), ids=named)
def test_all_pairs_of_extremes(case, weights, tmp_path):
    judge_case(case, weights, tmp_path)
