"""What the words and the frames of a report are."""

import json
from dataclasses import replace

from made_up import cell

from stkit.recipes.frames import FRAMES
from stkit.report import glossary
from stkit.report.groups import grouped
from stkit.report.result import Result, of_run


def made(**more: object) -> Result:
    return of_run("", json.loads(json.dumps(cell(0.5, **more))))  # lists, as in a file


def test_frames_say_what_they_are_and_what_is_their_own():
    own = made(frame="st", label="mine", gamma=0.01, beta=0.5)
    python = made(label="other")
    python = replace(python, setup={**python.setup, "train.frame": "custom"})
    given = made(label="given")
    given = replace(given, setup={**given.setup, "init.freeze": True})
    about = glossary.frames(grouped([made(), made(frame="jpeg"), own, python, given]))
    assert about == {
        "nt": FRAMES["nt"].about, "jpeg": FRAMES["jpeg"].about, "other": "a frame made in Python",
        "mine": f"{FRAMES['st'].about}; here with beta 0.5, gamma 0.01",
        "given": f"{FRAMES['nt'].about}; here with a start from another net",
    }  # fmt: skip


def test_words_of_acm_are_there_where_it_was_judged():
    assert "gamma" in glossary.words(grouped([made(frame="st")]))
    assert "gamma" not in glossary.words(grouped([made()]))


def test_the_retained_share_is_explained_where_there_is_one():
    share = replace(made(), retained_share=0.7)
    assert "retained share" in glossary.words(grouped([share]))
    assert "retained share" not in glossary.words(grouped([made()]))
