"""What may be changed of a frame: every option once, with its help and the frames that have it.

The command line's options and help are made from `OPTIONS`, `train(...)` takes the same names.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack

from stkit.core.checks import choose, given, number
from stkit.core.errors import RecipeError
from stkit.recipes.acm import VARIANTS
from stkit.recipes.carried import SIMCLR, Jitter, listed, read
from stkit.recipes.frames import (
    FRAMES,
    NATURAL,
    PAPER,
    Adversary,
    Frame,
    Phase,
    default_epochs,
)
from stkit.recipes.layers import PENULTIMATE
from stkit.recipes.purifiers import SHARE
from stkit.recipes.staged import INDICATORS, Staged


class Options(TypedDict, total=False):
    """The options of a frame; one that is None is left as the frame has it."""

    epochs: int | None
    lr: float | None
    fine_tune_epochs: int | None
    fine_tune_lr: float | None
    indicator: str | None
    gamma: float | None
    beta: float | None
    variant: str | None
    layer: str | int | None
    check_every: int | Literal["epoch"] | None
    restore: str | None
    gate: bool
    adversary: float | None
    jitter: Jitter | None
    weight_decay: float | None


def _any(frame: Frame) -> bool:
    return True


def _tuned(frame: Frame) -> bool:
    return frame.fine_tune is not None


def _staged(frame: Frame) -> bool:
    return frame.train.staged is not None


def _in_stages(frame: Frame) -> bool:
    return frame.train.staged is not None and not frame.train.staged.stop


def _attacked(frame: Frame) -> bool:
    return frame.train.adversary is not None


@dataclass(frozen=True)
class Option:
    """An option's help and the frames that have it; flag: its name on the command line."""

    help: str
    has: Callable[[Frame], bool] = _any
    flag: str | None = None


def _named(has: Callable[[Frame], bool]) -> str:
    return ", ".join(name for name, frame in FRAMES.items() if has(frame))


def _rates() -> str:
    """The learning rates of the paper's frames: `0.1; 0.2 for these`."""
    usual = Phase().lr
    others: dict[float, list[str]] = {}
    for name, frame in PAPER.items():
        if frame.train.lr != usual:
            others.setdefault(frame.train.lr, []).append(name)
    return "; ".join([f"{usual:g}", *(f"{lr:g} for {', '.join(n)}" for lr, n in others.items())])


def _jitter() -> str:
    """The four strengths that are the default."""
    times = Phase().jitter
    strengths = times if isinstance(times, tuple) else [times * each for each in SIMCLR]
    return ",".join(f"{strength:g}" for strength in strengths)


_TUNES = [frame.fine_tune.lr for frame in FRAMES.values() if frame.fine_tune is not None]

OPTIONS: dict[str, Option] = {
    "epochs": Option(
        f"Passes over the images.  [default: {default_epochs(32, 10)} at 32x32 up to 10 classes, "
        f"else {default_epochs(32, 11)}]"
    ),
    "lr": Option(f"Learning rate.  [default: the paper's: {_rates()}]"),
    "fine_tune_epochs": Option(f"{_named(_tuned)}.  [default: as many as --epochs]", _tuned),
    "fine_tune_lr": Option(
        f"{_named(_tuned)}.  [default: {', '.join(f'{lr:g}' for lr in _TUNES)}]", _tuned
    ),
    "indicator": Option(
        "st*: what is judged: ACM, or the share of accuracy that purified --holdout images keep.  "
        f"[default: {Staged().indicator}]",
        _staged,
    ),
    "gamma": Option(
        "st*: roll back above this ACM, or below this share.  [default: the variant's: "
        + ", ".join(f"{k} {v.gamma:g}" for k, v in VARIANTS.items())
        + f"; {SHARE:g} of the share]",
        _staged,
    ),
    "beta": Option(f"st*: 1/stages.  [default: 1/{1 / Staged().beta:g}]", _in_stages),
    "variant": Option(
        f"st*: which ACM.  [default: {Staged().variant}]", _staged, flag="acm-variant"
    ),
    "layer": Option(
        f"st*: whose ACM, a module's name or a number from 1.  [default: {PENULTIMATE}]",
        _staged,
        flag="acm-layer",
    ),
    "check_every": Option("st*: when it is judged.  [default: epoch]", _staged),
    "restore": Option(
        f"st*: momentum at a roll-back: as it was, as it is, zero.  [default: {Staged().restore}]",
        _staged,
    ),
    "gate": Option(f"{_named(_tuned)}: judge in the fine-tune too.", _tuned),
    "adversary": Option(
        f"{_named(_attacked)}: radius of the adversary.  "
        f"[default: {255 * Adversary().epsilon:g}/255]",
        _attacked,
    ),
    "augment": Option("In place of the frame's own: see the list above."),
    "jitter": Option(
        "Strength of the colour jitter, X times SimCLR's, or of brightness, contrast, saturation "
        f"and hue: RAD's are 0.4,0.4,0.4,0.5.  [default: {Phase().jitter}, so {_jitter()}]"
    ),
    "weight_decay": Option(
        f"Of SGD.  [default: {f'{Phase().weight_decay:.0e}'.replace('e-0', 'e-')}]"
    ),
}
"""Option -> its help; in the order in which they are checked."""


def frame_with(
    frame: str | Frame, *, augment: str | None = None, **options: Unpack[Options]
) -> Frame:
    """The frame, or the one of this name, with options in their place and called accordingly.

    check_every: steps, or `epoch`: once in each. gate: the schedule watches the fine-tune phase
    too. augment: a comma list (`carried.read`), in both phases in the place of all that the frame
    carries of its own: augmentation, preparation, mix, copies and dropout. RecipeError for an
    unknown frame or option, and for an option that this frame does not have.
    """
    if not isinstance(frame, (str, Frame)):
        raise RecipeError(
            f"frame is a {type(frame).__name__}, expected a name or a Frame; pass Frame(Phase(...))"
        )
    base = _frame(frame) if isinstance(frame, str) else frame
    for name, value in options.items():
        option = OPTIONS[choose("option", name, OPTIONS)]
        if value is not None and value is not False and not option.has(base):
            said = option.flag or name.replace("_", "-")
            raise RecipeError(f"option {said} does not belong to frame {base.name!r}; leave it out")
    if base.train.ladder is not None and augment is not None and read(augment).ladder is None:
        raise RecipeError(
            f"frame {base.name!r} chooses what is prepared and augmented, found augment "
            f"{augment!r} beside it; leave that out, or pass --frame {NATURAL} with it (a mix or "
            f"dropout goes with {base.name}: --augment {base.name},mixup)"
        )
    train = _train(base.train, augment, options)
    return replace(
        base, train=train, fine_tune=_fine_tune(base.fine_tune, train, augment, options),
        name=called(base.name, augment),
    )  # fmt: skip


def _frame(name: str) -> Frame:
    """The frame of this name; one as reports call it is answered with what makes it."""
    base, _, carried = name.partition("+")
    if base in FRAMES and carried:
        raise RecipeError(
            f"frame {name!r} is how reports call it; pass --frame {base} --augment {carried}"
        )
    return FRAMES[choose("frame", name, FRAMES)]


def _train(phase: Phase, carried: str | None, options: Options) -> Phase:
    """The first phase with what concerns it in place."""
    if phase.staged is not None:
        often = options.get("check_every")
        staged = given(
            _judging(phase.staged, options), beta=options.get("beta"),
            variant=options.get("variant"), layer=options.get("layer"), gamma=options.get("gamma"),
            check_every=None if often == "epoch" else often, restore=options.get("restore"),
        )  # fmt: skip
        if often == "epoch":
            staged = replace(staged, check_every=None)
        phase = replace(phase, staged=staged)
    epsilon = options.get("adversary")
    if phase.adversary is not None and epsilon is not None:
        phase = replace(phase, adversary=_scaled(phase.adversary, epsilon))
    phase = _both(phase, carried, options)
    jitters = "jitter" in phase.augment or phase.ladder is not None
    if options.get("jitter") is not None and not jitters:
        raise RecipeError("option jitter is for colour jitter; pass --augment cg with it")
    return given(phase, lr=options.get("lr"))


def _judging(staged: Staged, options: Options) -> Staged:
    """The schedule with the indicator that is asked for; one by another has nothing of ACM's."""
    indicator = choose("indicator", options.get("indicator") or staged.indicator, INDICATORS)
    if indicator != staged.indicator:
        staged = replace(
            staged, indicator=indicator, variant=Staged.variant, layer=None, gamma=None
        )
    for name in ("variant", "layer"):
        if staged.purified and options.get(name) is not None:
            raise RecipeError(
                f"option {OPTIONS[name].flag} is of ACM, found with the indicator {indicator!r}; "
                "leave one of them out"
            )
    return staged


def _fine_tune(
    phase: Phase | None, train: Phase, carried: str | None, options: Options
) -> Phase | None:
    """The second phase, where there is one, with what concerns it in place."""
    if phase is None:
        return None
    phase = _both(phase, carried, options)
    if options.get("gate"):
        phase = replace(phase, staged=train.staged)
    return given(phase, epochs=options.get("fine_tune_epochs"), lr=options.get("fine_tune_lr"))


def _both(phase: Phase, carried: str | None, options: Options) -> Phase:
    """What both phases share."""
    if carried is not None:
        phase = replace(phase, **vars(read(carried)))
    return given(
        phase, epochs=options.get("epochs"), jitter=options.get("jitter"),
        weight_decay=options.get("weight_decay"),
    )  # fmt: skip


def called(name: str, augment: str | None) -> str:
    """What a run is called in its file and in reports: the frame, and what it carries instead."""
    return name if augment is None else f"{name}+{','.join(listed(augment))}"


def _scaled(adversary: Adversary, epsilon: float) -> Adversary:
    """Another radius with the step in the same proportion to it."""
    number("adversary", epsilon, 0, 1)
    return replace(
        adversary, epsilon=epsilon, step_size=adversary.step_size * epsilon / adversary.epsilon
    )
