"""`train`: images and a frame in, a trained model out."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor, nn

from stkit.core import artifact, bars
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.data.images import Images
from stkit.data.load import opened
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime, pick
from stkit.measure import acm
from stkit.measure.subject import Checkpoint
from stkit.recipes.frames import NATURAL, Frame
from stkit.recipes.options import OPTIONS, Options, frame_with
from stkit.recipes.training import OWN, TrainingRecipe, init
from stkit.training.ladder import Chosen
from stkit.training.loop import Training
from stkit.training.schedule import Epoch
from stkit.training.sets import Augment
from stkit.training.transplant import donor


@dataclass(frozen=True)
class Run:
    """A finished training: the model, a record of each epoch, and the header of its checkpoint."""

    model: nn.Module
    epochs: tuple[Epoch, ...]
    header: dict[str, Any] = field(repr=False)
    runtime: Runtime = field(repr=False)

    def __repr__(self) -> str:
        tested = "" if self.accuracy is None else f", accuracy {self.accuracy:.4f}"
        name, net, count = self.header["frame"], self.header["model"], len(self.epochs)
        return f"Run({name} of {net}, {count} epochs{tested})"

    @property
    def chosen(self) -> Chosen | None:
        """What was decided on the way up the ladder of `auto`; None: there was none."""
        value = self.header.get("chosen")
        return None if value is None else Chosen.from_json(value)

    @property
    def accuracy(self) -> float | None:
        """On the test set, of the weights as they are; None where there was none."""
        return self.epochs[-1].last.get("accuracy")

    def save(self, path: str | Path, *, replace: bool = True) -> dict[str, Any]:
        """Write the checkpoint (of several ranks the first does); returns its header. Taken where a
        file is, unless it may `replace`."""
        if not self.runtime.first:
            return self.header
        weights = dict(self.model.state_dict())
        return artifact.write(Path(path), weights, self.header, replace=replace)

    def probe(self, images: Images, *, variant: str = "literal") -> acm.Acm:
        """ACM of the model on these images, on the draw D^s of its training where they are its."""
        return acm.acm(self.checkpoint, images, variant=variant, runtime=self.runtime)

    @property
    def checkpoint(self) -> Checkpoint:
        """What `acm` and `evaluate` measure as the command line does."""
        return Checkpoint(self.model, self.header, "the training")


def train(
    images: Images | str | Path,
    frame: str | Frame = NATURAL,
    *,
    model: str | nn.Module = TrainingRecipe.model,
    test: Images | str | Path | None = None,
    augment: str | Augment | None = None,
    batch_size: int = TrainingRecipe.batch_size,
    holdout: int = TrainingRecipe.holdout,
    seed: int = TrainingRecipe.seed,
    pretrained: bool = TrainingRecipe.pretrained,
    record: str | None = None,
    purified: bool = TrainingRecipe.purified,
    init_from: str | Path | Checkpoint | None = None,
    init_layers: str | None = None,
    freeze: bool = False,
    mean: Iterable[float] | Tensor | None = None,
    std: Iterable[float] | Tensor | None = None,
    device: str = "auto",
    precision: str = "auto",
    step: str = "auto",
    sync_bn: bool = False,
    threads: int | None = None,
    deterministic: bool = False,
    runtime: Runtime | None = None,
    progress: bool = False,
    on_epoch: Callable[[Epoch], object] | None = None,
    **options: Unpack[Options],
) -> Run:
    """Train a model by a frame to the end of its budget.

        run = train(images, "st", model="small", epochs=6, test=load("digits", "test"))
        run.accuracy, run.epochs[-1].checks, run.probe(images).acm

    images, test: a set, or what `load` takes, of which the train and the test split are loaded.

    frame: a name of FRAMES or a `Frame`. model: a name, or a module, which is trained in place.
    augment: names as `--augment` has them, or a function `(images, generator) -> images` on float
    [B,3,H,W] in [0,1], called each step outside what is recorded as a CUDA graph; either stands in
    the place of all that the frame carries of its own. test: measured after each epoch, decides
    nothing. record: what is measured on D^s at each epoch's end as `--record` has it, with layers:
    "acm,gradients:1,3"; see `Epoch.recorded`. purified: at each epoch's end the held-out images are
    measured washed by purifiers too; see `recipes.purifiers`. init_from: a checkpoint, or its file,
    to start from the weights of; init_layers: these alone, `first:N`, `last:N` or names of modules;
    freeze: they do not learn, see `training.transplant`. mean, std: subtracted and divided by in
    the model. device, precision, step, sync_bn, threads, deterministic: see `pick`; runtime: in the
    place of these. progress: a bar on stderr, on a terminal or in a notebook. on_epoch: called with
    each record as it is made. options: those of the frame, see `OPTIONS`.

    RecipeError for a setting outside its limits, an unknown name (with the nearest), and an option
    that the frame does not have. DataError for a test set that does not fit the images.
    """
    for name in options:
        choose("option", name, [*OPTIONS, *inspect.signature(train).parameters])
    _check_kinds(model, augment)
    images = opened(images, "images")
    test = None if test is None else opened(test, "test", split="test")
    own = augment if callable(augment) else None
    chosen = _framed(frame, augment, options)
    recipe = TrainingRecipe(
        chosen, f"{OWN}{type(model).__name__}" if isinstance(model, nn.Module) else model,
        batch_size, seed, holdout, pretrained, _floats("mean", mean),
        _floats("std", std), own and _name(own), record, init(init_from, init_layers, freeze),
        purified,
    )  # fmt: skip
    given = None if init_from is None else donor(init_from)
    runtime = runtime or pick(
        device, precision, step=step, sync_bn=sync_bn, threads=threads, deterministic=deterministic
    )
    with settings(runtime):
        training = Training(
            images, recipe, runtime=runtime, test=test,
            model=model if isinstance(model, nn.Module) else None, augment=own, donor=given,
        )  # fmt: skip
        shown = progress and runtime.first
        with bars.bar(training.recipe.frame.name, shown=shown) as bar:
            for epoch in training.steps():
                bar(*training.progress)
                if epoch is not None and on_epoch is not None:
                    on_epoch(epoch)
    return Run(training.model, tuple(training.epochs), training.head(), runtime)


def _check_kinds(model: object, augment: object) -> None:
    """RecipeError for what is something else than `train` takes."""
    if not isinstance(model, (str, nn.Module)):
        raise RecipeError(
            f"model is {model!r}, expected a name or a module; pass an instance, as in model=Net()"
        )
    if not (augment is None or isinstance(augment, str) or callable(augment)):
        raise RecipeError(
            f"augment is {augment!r}, expected names, as in augment='jpeg,cg', or a function"
        )


def _floats(name: str, values: Iterable[float] | Tensor | None) -> tuple[float, ...] | None:
    """A number a channel as Python's own. RecipeError when it is something else."""
    try:
        return None if values is None else tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise RecipeError(f"{name} is {values!r}, expected three numbers") from None


def _framed(frame: str | Frame, augment: str | Augment | None, options: Options) -> Frame:
    """The frame with its options; an own function leaves nothing of what the frame carries."""
    if not callable(augment):
        return frame_with(frame, **options, augment=augment)
    given = frame_with(frame, **options)
    if given.train.ladder is not None:
        raise RecipeError(
            f"frame {given.name!r} chooses what is prepared and augmented, found augment "
            f"{_name(augment)} beside it; leave that out, or pass {NATURAL!r} with it"
        )
    bare = frame_with(frame, **options, augment="none")
    return replace(bare, name=f"{bare.name.removesuffix('none')}{_name(augment)}")


def _name(function: Augment) -> str:
    """A function's qualified name, an object's class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
