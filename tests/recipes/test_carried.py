"""How `--augment` is read, and which frames there are beside the paper's six."""

from dataclasses import replace

import pytest

from stkit.core.errors import RecipeError
from stkit.recipes.carried import (
    AUGMENTATIONS,
    CG,
    NAMES,
    PLAIN,
    UERASER,
    Carried,
    preparation,
    read,
)
from stkit.recipes.frames import FRAMES, Adversary, Frame, Phase
from stkit.recipes.options import called, frame_with
from stkit.recipes.staged import Staged

PAPERS = {
    "nt": Frame(Phase()),
    "nt-cg": Frame(Phase(augment=("crop", "flip", "jitter", "random-gray"))),
    "at": Frame(Phase(adversary=Adversary(4 / 255, 0.8 / 255, 10))),
    "st": Frame(Phase(staged=Staged(0.25, "literal"))),
    "st-cg": Frame(Phase(lr=0.2, augment=CG, staged=Staged())),
    "st-full": Frame(Phase(lr=0.2, augment=CG, staged=Staged()), Phase(lr=0.3, augment=CG)),
}


def test_what_a_run_is_called_does_not_depend_on_how_it_was_typed() -> None:
    assert called("st", "JPEG , CG") == called("st", "jpeg,cg") == "st+jpeg,cg"
    assert called("st", None) == "st"


def test_the_papers_frames_carry_nothing_more() -> None:
    assert {name: FRAMES[name] for name in PAPERS} == PAPERS
    assert list(FRAMES)[:6] == list(PAPERS)
    assert Phase() == Phase(0.1, PLAIN, None, None, None, 0.9, 1e-4, (), None, 1, 1.0, 0.0)
    assert not Staged().stop


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", Carried()),
        ("none", Carried(augment=())),
        ("cg", Carried(augment=CG)),
        ("random-gray", Carried(augment=("crop", "flip", "random-gray"))),
        ("none,cg", Carried(augment=("jitter", "random-gray"))),
        ("none,flip,cutout", Carried(augment=("flip", "cutout"))),
        ("cutout,autoaugment", Carried(augment=("crop", "flip", "autoaugment", "cutout"))),
        ("jpeg,cg", Carried(prepare=("jpeg-10",), augment=CG)),
        ("cg, JPEG-50 ,gray", Carried(prepare=("jpeg-50", "gray"), augment=CG)),
        ("gray,jpeg-50", Carried(prepare=("gray", "jpeg-50"))),
        ("bdr,orthogonal,gauss", Carried(prepare=("bdr-2", "orthogonal", "gauss"))),
        ("orthogonal-1,swap-1", Carried(prepare=("orthogonal", "swap"))),
        ("orthogonal-2,swap-10", Carried(prepare=("orthogonal-2", "swap-10"))),
        ("mixup", Carried(mix="mixup")),
        ("cutmix,cutmix,dropout", Carried(mix="cutmix", dropout=0.5)),
        ("ueraser", Carried(augment=UERASER)),
        ("ueraser-max,cutmix", Carried(augment=UERASER, mix="cutmix", copies=5)),
    ],
)
def test_a_list_is_read(text: str, parts: Carried) -> None:
    assert read(text) == parts


def test_every_name_is_read_and_orders_do_not_matter_for_augmentations() -> None:
    for name in NAMES:
        found = read(name)
        assert tuple(n for n in AUGMENTATIONS if n in found.augment) == found.augment
    assert read("cutout,trivial,crop") == read("trivial,cutout")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutuot", "unknown augmentation 'cutuot'; did you mean 'cutout'"),
        ("", "unknown augmentation ''"),
        ("jpeg,,cg", "unknown augmentation ''"),
        ("mixup,cutmix", "found mixup and cutmix, expected one of them"),
        ("jpeg-0", "jpeg is 0, expected a number from 1 to 100"),
        ("jpeg-ten", "found 'jpeg-ten', expected jpeg-N with a whole number N"),
        ("gray-3", "gray takes no number, found 'gray-3'; write gray"),
    ],
)
def test_a_list_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        frame_with("st", augment=text)


def test_numbers_of_preparations() -> None:
    assert preparation("jpeg") == ("jpeg", 10) and preparation("jpeg-90") == ("jpeg", 90)
    assert preparation("gray") == ("gray", None) and preparation("bdr-8") == ("bdr", 8)


@pytest.mark.parametrize("name", [name for name in FRAMES if name != "auto"])
def test_any_frame_carries_any_parts(name: str) -> None:
    """Both phases get them, in the place of what the frame had; the rest of it stays. But auto's
    are chosen by a ladder, see tests/training/test_ladder.py."""
    found, plain = frame_with(name, augment="jpeg,cutout,dropout,mixup"), FRAMES[name]
    for phase, before in zip(found.phases, plain.phases, strict=True):
        assert phase == replace(
            before, prepare=("jpeg-10",), augment=(*PLAIN, "cutout"), mix="mixup", copies=1,
            dropout=0.5,
        )  # fmt: skip
    assert frame_with(name) == plain


def test_frames_beside_the_papers_are_nt_with_one_thing_more() -> None:
    for name in ("gray", "jpeg", "bdr", "gauss", "orthogonal", "cutout", "coin", "autoaugment",
                 "mixup", "cutmix", "dropout", "ueraser-max"):  # fmt: skip
        assert FRAMES[name] == frame_with("nt", augment=name) != FRAMES["nt"]
    assert FRAMES["ueraser-lite"] == frame_with("nt", augment="ueraser")
    assert FRAMES["ueraser-lite"].train.copies == 1 and FRAMES["ueraser-max"].train.copies == 5
    for decay in ("1e-3", "1e-2"):
        assert FRAMES[f"wd-{decay}"] == frame_with("nt", weight_decay=float(decay))
    stop = FRAMES["nt-stop"]
    assert replace(stop.train, staged=None) == Phase()
    assert stop.train.staged is not None and stop.train.staged.threshold == 0.10


def test_an_epoch_between_checks_may_be_asked_for_where_the_frame_has_steps() -> None:
    """And is refused where nothing is judged, as steps are."""
    for asked, often in (("epoch", None), (None, 49), (7, 7)):
        staged = frame_with("nt-stop", check_every=asked).train.staged
        assert staged is not None and staged.check_every == often
    with pytest.raises(RecipeError, match="check-every does not belong to frame 'nt'"):
        frame_with("nt", check_every="epoch")
    with pytest.raises(RecipeError, match="check-every is 'often'"):
        frame_with("st", check_every="often")


def test_weight_decay_reaches_both_phases() -> None:
    assert [p.weight_decay for p in frame_with("st-full", weight_decay=0.01).phases] == [0.01] * 2


def test_beta_has_no_part_in_a_frame_that_stops() -> None:
    assert frame_with("nt-stop", gamma=0.2).train.staged == Staged(
        variant="ratio", gamma=0.2, check_every=49, stop=True
    )
    with pytest.raises(RecipeError, match="option beta does not belong to frame 'nt-stop'"):
        frame_with("nt-stop", beta=0.5)


@pytest.mark.parametrize(
    "fields",
    [
        {"prepare": ("png",)}, {"augment": ("crops",)}, {"mix": "mix"}, {"copies": 0},
        {"dropout": 1.0}, {"dropout": float("nan")}, {"weight_decay": -1.0},
    ],
)  # fmt: skip
def test_a_phase_refuses_what_is_not_there(fields: dict) -> None:
    with pytest.raises(RecipeError):
        Phase(**fields)


def test_both_phases_are_prepared_alike() -> None:
    with pytest.raises(RecipeError, match="preparations"):
        Frame(Phase(prepare=("gray",)), Phase())
