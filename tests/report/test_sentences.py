"""What a poison costs and what gives it back, in words."""

from made_up import cell

from stkit.report.groups import MEASURES, grouped
from stkit.report.result import of_run
from stkit.report.sentences import NO_POISON, VALIDATION, findings, sentences


def said(*cells: dict, measure: str = "test") -> list[str]:
    results = [of_run(str(number), each) for number, each in enumerate(cells)]
    return sentences(grouped(results, MEASURES[measure]))


CLEAN, SP = cell(0.615), cell(0.2, poison="sp")


def sp(accuracy: float, frame: str, **more: object) -> dict:
    return cell(accuracy, poison="sp", frame=frame, **more)


def test_a_poison_in_a_sentence():
    """What it costs, what the best frame gives back and costs itself, and the paper's."""
    frames = [sp(0.58, "gray-jpeg"), sp(0.32, "st"), sp(0.3, "st-cg"), sp(0.25, "jpeg")]
    lost = "sp costs natural training 42 points (61.5 % on clean images, 20.0 % on these); "
    nothing = "no other frame was trained on these images from scratch"
    best = "gray-jpeg, the best of 4 other frames, gives back 38"
    assert said(CLEAN, SP, *frames) == [f"{lost}{best}, st 12."]
    for clean, price in ((0.594, "on clean images it costs 2"), (0.61, "at no cost that shows on")):
        (line,) = said(CLEAN, SP, *frames, cell(clean, frame="gray-jpeg"))
        assert line.startswith(f"{lost}{best} ({price}")
    assert said(CLEAN, SP) == [f"{lost}{nothing}."]
    assert said(CLEAN, SP, sp(0.62, "jpeg")) == [f"{lost}jpeg gives back 42, all that was lost."]
    assert said(CLEAN, SP, sp(0.2, "jpeg")) == [f"{lost}jpeg gives nothing back."]
    assert said(CLEAN, SP, sp(0.15, "jpeg")) == [f"{lost}jpeg is 5 points worse."]
    (line,) = said(CLEAN, SP, sp(0.5, "jpeg"), sp(0.15, "st"))
    assert line.endswith("jpeg, the best of 2 other frames, gives back 30, st is 5 points worse.")


def test_what_does_no_harm_is_said_to_do_none():
    (line,) = said(CLEAN, cell(0.61, poison="sp", rate=0.2), sp(0.5, "st", rate=0.2))
    assert line.startswith("sp on 20 % of images costs natural training less than a point (61.5 %")
    assert line.endswith("; st is 11 points worse.")
    (line,) = said(cell(0.5), cell(0.6, poison="sp"), sp(0.605, "st"))
    assert line.startswith("sp helps natural training by 10 points")
    assert line.endswith("st is no better.")


def test_seeds_have_a_spread():
    """In quadrature; what is within it is not claimed."""
    clean, poisoned = [[cell(0.6 + s, poison=p, seed=i) for i, s in enumerate((-0.03, 0.03))]
                       for p in ("clean", "sp")]  # fmt: skip
    hurt = [cell(a, poison="sp", seed=i) for i, a in enumerate((0.18, 0.22))]
    (line,) = said(*clean, *hurt, sp(0.5, "st"))
    assert line.startswith("sp costs natural training 40.0 ± 5.1 points (60.0 % on clean")
    assert line.endswith("; st gives back 30."), "one seed: no spread"
    (line,) = said(cell(0.62, seed=2), *clean, *poisoned)
    assert line.startswith("sp costs natural training less than a point")
    more = [cell(0.62 + s, seed=i) for i, s in enumerate((-0.03, 0.03))]
    (line,) = said(*more, *poisoned)
    assert "nothing beyond the spread of seeds, 2.0 ± 6.0 points, (62.0 %" in line


def test_what_is_missing_is_said():
    assert said(CLEAN) == [NO_POISON] and said() == []
    assert said(CLEAN, sp(0.5, "st")) == [
        "sp: what it costs is not known without natural training on these images; st reaches "
        "50.0 %."
    ]
    bare = [cell(0.6, frame="nt+none"), sp(0.1, "nt+none"), sp(0.5, "jpeg")]
    assert said(*bare) == [
        "sp costs natural training without crop and flip 50 points (60.0 % on clean images, "
        "10.0 % on these); jpeg gives back 40."
    ]
    assert said(*bare, CLEAN, SP)[0].startswith("sp costs natural training 42 points")
    without = "without natural training on clean images by the same settings"
    for other in ([], [cell(0.6, epochs=3)], [cell(0.6, model="vgg16-bn")]):
        (line,) = said(*other, SP, sp(0.5, "st"))
        assert line == (
            f"sp leaves natural training 20.0 % (what it costs is not known {without}); "
            "st is 30 points better."
        )
    (line,) = said(CLEAN, SP, cell(0.3, poison="sp", epochs=3))
    assert line == "sp: what it costs is not known, as 2 natural trainings differ in settings."
    held = cell(0.5) | {"holdout_accuracy": 0.9}
    assert said(held, measure="holdout") == [VALIDATION]


def test_several_poisons_sets_and_models():
    ops = [cell(0.3, poison="ops"), cell(0.4, poison="ops", frame="st")]
    both = (CLEAN, SP, sp(0.5, "st"), sp(0.55, "jpeg"), *ops)
    assert said(*both)[2:] == [
        "Best on its worst set, of 2 frames trained on both: st, 40.0 % on ops; natural training "
        "has 20.0 % on its worst, sp."
    ]
    lines = said(*both, cell(0.7, model="vgg16-bn"), cell(0.2, model="vgg16-bn", poison="sp"))
    starts = [line.partition(": ")[0] for line in lines]
    assert starts == ["resnet18"] * 3 + ["vgg16-bn"]


def test_findings_are_values():
    results = [of_run(str(number), each) for number, each in enumerate((CLEAN, SP))]
    (one,) = findings(grouped(results))
    assert one.cost is not None and round(one.cost.points, 1) == 41.5 and one.cost.shows
    assert (one.poison, one.best, one.others) == ("sp", None, 0)
