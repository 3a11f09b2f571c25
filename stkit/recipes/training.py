"""All that decides a training, and what of it no training could do. No torch."""

from dataclasses import dataclass
from math import inf, isfinite

from stkit.core.checks import whole
from stkit.core.errors import RecipeError
from stkit.recipes import layers
from stkit.recipes.catalogue import model_name
from stkit.recipes.frames import Frame

PRECISIONS = ("auto", "fp32", "bf16")
STEPS = ("auto", "eager", "graph", "compile")
"""How a training step is run, see `runtime.pick`."""
THREADS = 1024
"""Of a CPU at most, for one process."""
OWN = "own:"
"""Before the class name of a model that is nobody's but the user's, as `timm:` before timm's."""


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

    def __post_init__(self) -> None:
        if not self.own_model:
            model_name(self.model)
        whole("batch-size", self.batch_size, 1, inf)
        whole("holdout", self.holdout, 0, inf)
        whole("seed", self.seed, 0, 2**32 - 1)
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

    @property
    def own_model(self) -> bool:
        """Whether the model is a module of the user's."""
        return self.model.startswith(OWN)
