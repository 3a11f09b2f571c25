"""All that decides a training, and what of it no training could do. No torch."""

import re
from dataclasses import dataclass
from math import inf, isfinite

from stkit.core.checks import whole
from stkit.core.errors import RecipeError
from stkit.recipes import layers
from stkit.recipes.catalogue import model_name
from stkit.recipes.frames import Frame, judged_by_purified

PRECISIONS = ("auto", "fp32", "bf16")
STEPS = ("auto", "eager", "graph", "compile")
"""How a training step is run, see `runtime.pick`."""
THREADS = 1024
"""Of a CPU at most, for one process."""
OWN = "own:"
"""Before the class name of a model that is nobody's but the user's, as `timm:` before timm's."""


@dataclass(frozen=True)
class Init:
    """What a training takes over of a checkpoint before its first step.

    layers: `first:N` or `last:N` of those before the classifier, or names of modules with commas
    between them; None: everything. freeze: they do not learn, and the statistics of their norms
    stay. ST paper, sec. 3.2: M^S and M^D are nets with two blocks of a clean one, frozen.
    """

    layers: str | None = None
    freeze: bool = False

    def __post_init__(self) -> None:
        if self.layers is None:
            return
        if not (isinstance(self.layers, str) and self.layers.isprintable() and all(self.names)):
            raise RecipeError(
                f"init-layers is {self.layers!r}, expected first:N, last:N, or names of modules "
                "such as layer1.0,layer1.1"
            )
        if self.layers.startswith(("first:", "last:")) and self.counted is None:
            raise RecipeError(
                f"init-layers is {self.layers!r}, expected a whole number of layers, as in first:2"
            )

    @property
    def counted(self) -> tuple[str, int] | None:
        """The end of the net and how many layers of it; None where modules are named."""
        said = re.fullmatch(r"(first|last):([0-9]{1,9})", self.layers or "")
        return None if said is None else (said[1], int(said[2]))

    @property
    def names(self) -> tuple[str, ...]:
        """The modules that are named; of counted layers the text itself."""
        return () if self.layers is None else tuple(self.layers.split(","))


def init(given: object, layers: str | None, freeze: bool) -> Init | None:
    """What is taken over of what was `given`, a checkpoint or None.

    RecipeError where there is none, and layers to take from it or to freeze.
    """
    if given is not None:
        return Init(layers, bool(freeze))
    if layers is not None or freeze:
        said = "freeze" if layers is None else "init-layers"
        raise RecipeError(f"{said} is given without init-from; pass --init-from CHECKPOINT with it")
    return None


@dataclass(frozen=True)
class TrainingRecipe:
    """All that decides the result of a training besides the images: the recipe of a checkpoint."""

    frame: Frame
    model: str = "resnet18"  # or OWN and a class name
    batch_size: int = 128
    seed: int = 0
    holdout: int = 0  # training images kept out for validation, class-balanced
    pretrained: bool = False  # start from timm's weights
    mean: tuple[float, ...] | None = None  # None: the model's own, see `models.normalisation`
    std: tuple[float, ...] | None = None
    own_augment: str | None = None  # the name of a function of the user's, in place of the frame's
    record: str | None = None  # what is measured at each epoch's end, see `layers.record`
    init: Init | None = None
    purified: bool = False  # what is held out is measured washed too, see `recipes.purifiers`

    def __post_init__(self) -> None:
        if not self.own_model:
            model_name(self.model)
        whole("batch-size", self.batch_size, 1, inf)
        whole("holdout", self.holdout, 0, inf)
        whole("seed", self.seed, 0, 2**32 - 1)
        held = self.holdout or self.frame.train.ladder is not None  # which holds out by itself
        if judged_by_purified(self.frame):
            if not held:
                raise RecipeError(
                    "indicator 'purified' is given without holdout, the images that it judges by; "
                    "pass --holdout N with it"
                )
            object.__setattr__(self, "purified", True)  # what is judged is recorded
        if self.purified and not held:
            raise RecipeError(
                "purified is given without holdout, the images that are washed; "
                "pass --holdout N with it"
            )
        if self.record is not None:
            layers.record(self.record)  # raises
        given = [values for values in (self.mean, self.std) if values is not None]
        if any(len(values) != 3 for values in given) or min(self.std or (1,)) <= 0:
            raise RecipeError(
                f"mean {self.mean} and std {self.std}: expected three numbers each, std above 0"
            )
        if not all(isfinite(v) for values in given for v in values):
            raise RecipeError(f"mean {self.mean} and std {self.std}: expected finite numbers")
        if self.pretrained and self.own_model:
            raise RecipeError("pretrained is for models of timm; load your weights into your model")
        if self.pretrained and self.init is not None:
            raise RecipeError(
                "pretrained and init-from are two sources of weights, expected one; leave one out"
            )

    @property
    def own_model(self) -> bool:
        """Whether the model is a module of the user's."""
        return self.model.startswith(OWN)
