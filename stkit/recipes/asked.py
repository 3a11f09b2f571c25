"""What a command line asked for, read back from the recipe in a header. No torch.

`frame` is the inverse of `frame_with` and `poison` that of a recipe's `resolved`: the options they
give lead to the same recipe again, which is tried here. RecipeError where none do, as for what was
made in Python from a net or a frame of one's own; KeyError, TypeError or ValueError where a recipe
is not of the form that it has in a header.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

from stkit.core import header
from stkit.core.checks import as_dict, choose, number, whole
from stkit.core.errors import RecipeError
from stkit.core.kinds import RENAMED
from stkit.recipes.catalogue import MODELS, SMALL, model_name
from stkit.recipes.frames import (
    FRAMES,
    NATURAL,
    Adversary,
    Frame,
    ResolvedPhase,
    resolve,
)
from stkit.recipes.ladder import Ladder
from stkit.recipes.options import OPTIONS, Options, frame_with
from stkit.recipes.poisons import METHODS
from stkit.recipes.settings import settings
from stkit.recipes.staged import ResolvedStaged
from stkit.recipes.training import PRECISIONS, Init, TrainingRecipe

Recorded = Mapping[str, Any]
Values = dict[str, str | int | float | bool]
"""Options of a command by their names without dashes; a switch is true or false."""
RUNTIME = ("precision", "threads", "deterministic", "ranks", "sync_bn")
"""What a recipe holds of where it was computed."""
BESIDE = {"method", "poison_rate", *RUNTIME}
"""What a poisoned set's recipe holds besides the settings of the method."""
Read = Callable[[Frame], Any]
READ: dict[str, Read] = {
    "epochs": lambda frame: frame.train.epochs,
    "lr": lambda frame: frame.train.lr,
    "weight_decay": lambda frame: frame.train.weight_decay,
    "jitter": lambda frame: frame.train.jitter,
    "adversary": lambda frame: frame.train.adversary and frame.train.adversary.epsilon,
    "indicator": lambda frame: frame.train.staged and frame.train.staged.indicator,
    "variant": lambda frame: frame.train.staged and frame.train.staged.variant,
    "gamma": lambda frame: frame.train.staged and frame.train.staged.threshold,
    "beta": lambda frame: frame.train.staged and frame.train.staged.beta,
    "layer": lambda frame: frame.train.staged and frame.train.staged.layer,
    "check_every": lambda frame: frame.train.staged and frame.train.staged.check_every,
    "restore": lambda frame: frame.train.staged and frame.train.staged.restore,
    "gate": lambda frame: frame.fine_tune is not None and frame.fine_tune.staged is not None,
    "fine_tune_epochs": lambda frame: frame.fine_tune and frame.fine_tune.epochs,
    "fine_tune_lr": lambda frame: frame.fine_tune and frame.fine_tune.lr,
}
"""How each of `OPTIONS` is read from a frame, but augment, which stands in its name; what decides
the default of another comes before it."""


def words(values: Mapping[str, str | int | float | bool]) -> tuple[str, ...]:
    """Options as a command line has them, each in one word; a switch that is false is left out."""
    return tuple(
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in values.items()
        if value is not False
    )


def fraction(value: float) -> str:
    """A budget as people write it, 8/255, where that is the same number to the last bit."""
    above = f"{255 * value:.6g}"
    return f"{above}/255" if 0 < value < 1 and float(above) / 255 == value else repr(value)


def frame(recipe: Recorded) -> Values:
    """`--frame` and those of its options that lead to the phases that a checkpoint records."""
    name = recipe["frame"]
    if "augment" in recipe:
        raise RecipeError(f"its augmentation is a function in Python, {recipe['augment']!r}")
    base, _, carried = (name, "", "") if name in FRAMES else name.partition("+")
    augment = ",".join(RENAMED.get(name, name) for name in carried.split(",")) or None
    recorded = _recorded(recipe["phases"], name)
    options = Options()
    chosen = frame_with(choose("frame", base, FRAMES), augment=augment)
    for option, read in READ.items():
        value = read(recorded)
        if value != read(chosen) and OPTIONS[option].has(chosen):
            options = cast(Options, {**options, option: value})
            chosen = frame_with(base, augment=augment, **options)
    _same(chosen, recorded)
    given: dict[str, Any] = {"augment": augment} if augment else {}
    given |= options
    if "adversary" in given:
        given["adversary"] = fraction(given["adversary"])
    if isinstance(given.get("jitter"), tuple):
        given["jitter"] = _numbers(given["jitter"])
    return {"frame": base} | {
        (OPTIONS[option].flag or option).replace("_", "-"): value for option, value in given.items()
    }


def _recorded(phases: list[dict[str, Any]], name: str) -> Frame:
    """The frame whose resolved phases a header holds."""
    return Frame(*(_phase(phase) for phase in header.numbers(phases)), name=name)


def _phase(phase: dict[str, Any]) -> ResolvedPhase:
    adversary, staged = phase["adversary"], phase["staged"]
    given = {
        "adversary": adversary and Adversary(**adversary),
        "staged": staged and ResolvedStaged(**staged),
        "augment": tuple(phase["augment"]), "prepare": tuple(phase["prepare"]),
    }  # fmt: skip
    if isinstance(phase["jitter"], list):
        given["jitter"] = tuple(phase["jitter"])
    if phase.get("ladder"):
        given["ladder"] = Ladder(**phase["ladder"] | {"rungs": tuple(phase["ladder"]["rungs"])})
    return ResolvedPhase(**phase | given)


def _same(chosen: Frame, recorded: Frame) -> None:
    """RecipeError unless the frame, resolved, has the recorded phases."""
    # What depends on the data has been given: these sizes decide nothing.
    resolved = [resolve(each, size=1, classes=1, steps_per_epoch=1) for each in chosen.phases]
    a, b = (header.flat([as_dict(phase) for phase in p]) for p in (resolved, recorded.phases))
    apart = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
    if apart:
        raise RecipeError(
            f"its frame {recorded.name!r} was changed in Python: no option gives {', '.join(apart)}"
        )


def poison(recipe: Recorded) -> Values:
    """The options of `stkit poison METHOD` that lead to the recipe of a poisoned set."""
    method = METHODS[choose("method", recipe["method"], METHODS)]
    about = settings(method)
    lacking, other = sorted(about.keys() - recipe.keys()), recipe.keys() - about.keys() - BESIDE
    if lacking or other:
        said = [f"lacks {', '.join(lacking)}"] * bool(lacking)
        said += [f"has {', '.join(sorted(map(repr, other)))}"] * bool(other)
        raise RecipeError(f"its recipe {' and '.join(said)}, which this version cannot ask for")
    if "model" in about:
        _model(recipe["model"], "surrogate")
    given = header.numbers({name: recipe[name] for name in about})
    method(**given)  # RecipeError for what is out of its limits
    values: Values = {}
    for each in fields(method):
        value = given[each.name]
        if isinstance(each.default, bool) is not isinstance(value, bool):
            raise RecipeError(f"its {each.name} is {value!r}, which is no such setting")
        if value != each.default:
            flag = each.name.replace("_", "-")
            values[flag] = fraction(value) if about[each.name].unit == "budget" else value
    rate = recipe.get("poison_rate", 1.0)
    number("poison-rate", rate, 0, 1)
    return values if rate == 1 else values | {"poison-rate": rate}


def training(recipe: Recorded, seed: int, *, side: int | None) -> Values:
    """The options of `stkit train`; side: of the images in pixels, where that is known."""
    model = _model(recipe["model"], "model")
    mean, std = ((*map(float, recipe[key]),) for key in ("mean", "std"))
    asked = TrainingRecipe(  # RecipeError for what is out of its limits
        FRAMES[NATURAL], model, recipe["batch_size"], seed, recipe["holdout"],
        recipe["pretrained"], mean, std, record=recipe.get("record"),
        init=_init(recipe.get("init")),
        purified=recipe.get("purified") is True,
    )  # fmt: skip
    values = frame(recipe) | {"model": model, "batch-size": asked.batch_size}
    values |= {"pretrained": asked.pretrained is True}
    if asked.init is not None:
        layers = asked.init.layers
        values |= {} if layers is None else {"init-layers": layers}
        values["freeze"] = asked.init.freeze
    if asked.holdout:
        values["holdout"] = asked.holdout
    if asked.purified:
        values["purified"] = True
    if asked.record is not None:
        values["record"] = asked.record
    none = (mean, std) == ((0.0,) * 3, (1.0,) * 3)
    if not (none and model in MODELS and side is not None and side <= SMALL):  # else by default
        values |= {"mean": _numbers(mean), "std": _numbers(std)}
    return values


def _init(recorded: Recorded | None) -> Init | None:
    """What was taken over of a checkpoint, where one was."""
    return None if recorded is None else Init(recorded.get("layers"), recorded["freeze"] is True)


def _numbers(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{each:g}" if float(f"{each:g}") == each else repr(each) for each in numbers)


def _model(name: str, what: str) -> str:
    """The name, if a command line can ask for it."""
    try:
        return model_name(name)
    except RecipeError:
        raise RecipeError(f"its {what}, {name!r}, is a module in Python") from None


def runtime(recipe: Recorded) -> Values:
    """Precision, threads and what else of the place of computing decides the numbers."""
    values: Values = {}
    if "precision" in recipe:
        values["precision"] = choose("precision", recipe["precision"], PRECISIONS)
    if "threads" in recipe:  # recorded of a CPU alone
        whole("threads", recipe["threads"], 1, 2**16)
        values |= {"device": "cpu", "threads": recipe["threads"]}
    values["deterministic"] = recipe.get("deterministic") is True
    values["sync-bn"] = recipe.get("sync_bn") is True
    return values


def ranks(recipe: Recorded) -> int:
    """By how many processes it was computed."""
    count: int = recipe.get("ranks", 1)
    whole("ranks", count, 1, 2**16)
    return count
