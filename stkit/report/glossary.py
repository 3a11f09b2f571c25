"""What the words of a report mean and what each frame in it is, for who is new to them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from stkit.core import header
from stkit.core.checks import as_dict
from stkit.recipes.frames import FRAMES, NATURAL, Frame
from stkit.report import sweeps
from stkit.report.groups import Group, word

WORDS = {
    "poison": "what was put on the training images so that networks learn nothing of use from "
    "them; clean: nothing was",
    "frame": "a way to train",
    "natural training": f"the plain way, {NATURAL}, with which all others are compared",
    "accuracy": "the share of images, none of which was trained on, that are told rightly, here "
    "clean ones unless another is named",
    "point": "of accuracy: from 61 % to 19 % are 42 points",
    "rate": "the share of the training images that carry the poison, where it is not 1 said after "
    "the poison's name",
    "seed": "what all chance in a training follows from: several seeds show how much is chance",
}
ACM = {
    "ACM": "how tight and how far apart a network holds the classes of what it was trained on; "
    "high values go with a shortcut; of the last check, before a roll-back",
    "gamma": "the threshold of ACM in staged training",
    "roll-back": "ACM was above gamma: the weights went back to those of the check before, and "
    "the layers near the images learn more slowly from then on, a stage later each time",
}
SHARE = {
    "retained share": "of the accuracy on images of the published set that were kept out, what is "
    "left on the same images washed; a shortcut is washed off, so little left points to one",
}


def words(made: Iterable[Group]) -> dict[str, str]:
    """The words that a report of these has."""
    firsts = [group.first for group in made]
    judged = any(first.stages is not None for first in firsts)
    shared = any(first.retained_share is not None for first in firsts)
    return WORDS | (ACM if judged else {}) | (SHARE if shared else {})


def frames(made: Iterable[Group]) -> dict[str, str]:
    """Each frame by its name, with what it is, in the order of the groups."""
    first: dict[str, Group] = {}
    for group in made:
        first.setdefault(group.frame, group)
    return {name: _about(group) for name, group in first.items()}


def _about(group: Group) -> str:
    """The line of a frame that there is; of another that of the one it is made from, and what is
    its own."""
    setup = group.first.setup
    base, _, _ = str(setup["train.frame"]).partition("+")
    if base not in FRAMES:
        return "a frame made in Python"
    about = FRAMES[base].about
    if group.frame == base:
        return about
    own = dict.fromkeys(word(setup, key) for key in _own(setup, FRAMES[base]))
    if any(key.startswith("init.") for key in setup):
        own["a start from another net"] = None
    return f"{about}; here with {', '.join(own)}" if own else about


def _own(setup: Mapping[str, Any], frame: Frame) -> list[str]:
    """The settings, by path, that are not the frame's; of what it leaves open, unusual ones."""
    phases = json.loads(json.dumps([as_dict(phase) for phase in frame.phases]))
    usual = header.flat({"train": {"phases": phases}})
    known = {key for key, value in usual.items() if value is not None}
    return [
        key
        for key, value in setup.items()
        if key.startswith("train.phases.") and not key.endswith(".epochs") and value is not None
        and value != (usual[key] if key in known else _usual(setup, key))
    ]  # fmt: skip


def _usual(setup: Mapping[str, Any], key: str) -> float | None:
    return sweeps.default(setup, "gamma") if key.endswith(".staged.gamma") else None
