"""The retained share: what is left on washed images, and when that is enough."""

import pytest

from stkit.core.errors import RecipeError
from stkit.recipes import purifiers
from stkit.recipes.frames import FRAMES
from stkit.recipes.purifiers import PURIFIERS, SHARE, TOLL, least_holdout, least_share, passes
from stkit.recipes.training import TrainingRecipe


@pytest.mark.parametrize(
    ("holdout", "classes", "least"),
    [(0.7, 10, 0.7), (1.0, 10, 0.685), (0.1, 10, 1.0), (1.0, 2, 0.825), (1.0, 100, 0.6535)],
)
def test_the_least_share_leaves_so_much_of_what_is_above_chance(holdout, classes, least):
    assert least_share(holdout, classes) == pytest.approx(least)
    left = least * holdout - 1 / classes
    assert left == pytest.approx(SHARE * (holdout - 1 / classes))


@pytest.mark.parametrize(
    ("share", "holdout", "classes", "count", "passed"),
    [
        (0.30, 0.58, 10, 1000, False),
        (0.72, 0.58, 10, 1000, True),
        (0.67, 0.58, 10, 1000, False),  # 0.71 with ten classes, less 0.027 of noise
        (0.67, 0.58, 10, 100, True),  # less 0.084
        (0.67, 0.58, 100, 1000, True),  # 0.656 with a hundred classes
        (0.30, 0.12, 10, 1000, True),  # at chance
        (0.30, 0.13, 10, 1000, False),  # three standard deviations: 0.128
        (0.30, 0.18, 10, 100, True),  # of fewer images: 0.19
        (0.30, 0.05, 10, 1000, True),  # below it
        (None, 0.0, 10, 1000, True),
    ],
)
def test_a_training_passes(share, holdout, classes, count, passed):
    assert passes(share, holdout, classes, count) is passed


def test_the_share_is_the_smallest_over_those_that_judge():
    washed = {"jpeg-10": 0.4, "gray,jpeg-10": 0.1, "bdr-2": 0.5}
    assert purifiers.retained_share(0.5, washed, washed) == pytest.approx(
        1 / 3
    )  # grey may take 0.4
    assert purifiers.retained_share(0.5, washed, ["jpeg-10", "bdr-2"]) == 0.8
    assert purifiers.retained_share(0.4, washed, ["bdr-2"]) == 1.25
    assert purifiers.retained_share(0.0, washed, washed) is None
    assert TOLL.keys() <= set(PURIFIERS)


@pytest.mark.parametrize(
    ("prepare", "own"),
    [
        ((), None), (("gray",), None), (("jpeg-30",), None), (("jpeg",), "jpeg-10"),
        (("jpeg-10",), "jpeg-10"), (("bdr",), "bdr-2"), (("gray", "jpeg"), "gray,jpeg-10"),
        (("jpeg-10", "gray"), "gray,jpeg-10"),
    ],
)  # fmt: skip
def test_what_a_training_prepares_with_does_not_judge_it(prepare, own):
    known = ("jpeg-10", "gray,jpeg-10", "bdr-2")
    assert [each for each in known if purifiers.same(each, prepare)] == [own] * (own is not None)


@pytest.mark.parametrize(("classes", "least"), [(2, 100), (10, 100), (100, 1000)])
def test_it_takes_so_many_images(classes, least):
    assert least_holdout(classes) == least
    purifiers.check_holdout(least, classes)
    with pytest.raises(RecipeError, match=f"holdout is {least - 1}, expected {least} images"):
        purifiers.check_holdout(least - 1, classes)


def test_without_a_holdout_it_is_refused():
    with pytest.raises(RecipeError, match=r"purified is given without holdout.*pass --holdout N"):
        TrainingRecipe(FRAMES["nt"], "small", purified=True)
