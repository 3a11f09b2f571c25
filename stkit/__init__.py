"""stkit: unlearnable examples from end to end. Each name below is imported when it is first used.

from stkit import SP, acm, load, poison, train

images = poison(load("digits"), SP(), seed=0)
run = train(images, "st", model="small", epochs=2)
acm(run.model, images).acm
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Images": "data.images", "load": "data.load",
    "AR": "recipes.poisons", "CUDA": "recipes.poisons", "EM": "recipes.poisons",
    "OPS": "recipes.poisons", "REM": "recipes.poisons", "SP": "recipes.poisons",
    "poison": "poisons",
    "Adversary": "recipes.frames", "FRAMES": "recipes.frames", "Frame": "recipes.frames",
    "Phase": "recipes.frames", "Staged": "recipes.staged", "train": "training.run",
    "Check": "training.schedule", "Epoch": "training.schedule", "Run": "training.run",
    "StagedTraining": "training.staged", "layer_groups": "training.staged",
    "Verdict": "training.schedule",
    "Checkpoint": "measure.subject", "load_checkpoint": "training.checkpoint",
    "load_model": "training.checkpoint", "check": "training.check",
    "acm": "measure.acm", "acm_by_layer": "measure.acm", "gradients": "measure.gradients",
    "compare": "measure.comparison", "evaluate": "measure.accuracy",
    "landscape": "measure.landscape", "probe": "measure.separability",
    "separability": "measure.separability",
    "features": "models", "layers": "models",
    "Runtime": "engine.runtime", "configure": "engine.process", "pick": "engine.runtime",
    "StkitError": "core.errors",
}  # fmt: skip
"""Public name -> the module of stkit that it is in."""

__all__ = [
    "AR", "CUDA", "EM", "FRAMES", "OPS", "REM", "SP", "Adversary", "Check", "Checkpoint", "Epoch",
    "Frame", "Images", "Phase", "Run", "Runtime", "Staged", "StagedTraining", "StkitError",
    "Verdict", "__version__", "acm", "acm_by_layer", "check", "compare", "configure", "evaluate",
    "features", "gradients", "landscape", "layer_groups", "layers", "load", "load_checkpoint",
    "load_model", "pick", "poison", "probe", "separability", "train",
]  # fmt: skip

if TYPE_CHECKING:
    from stkit.core.errors import StkitError
    from stkit.data.images import Images
    from stkit.data.load import load
    from stkit.engine.process import configure
    from stkit.engine.runtime import Runtime, pick
    from stkit.measure.accuracy import evaluate
    from stkit.measure.acm import acm, acm_by_layer
    from stkit.measure.comparison import compare
    from stkit.measure.gradients import gradients
    from stkit.measure.landscape import landscape
    from stkit.measure.separability import probe, separability
    from stkit.measure.subject import Checkpoint
    from stkit.models import features, layers
    from stkit.poisons import poison
    from stkit.recipes.frames import FRAMES, Adversary, Frame, Phase
    from stkit.recipes.poisons import AR, CUDA, EM, OPS, REM, SP
    from stkit.recipes.staged import Staged
    from stkit.training.check import check
    from stkit.training.checkpoint import load_checkpoint, load_model
    from stkit.training.run import Run, train
    from stkit.training.schedule import Check, Epoch, Verdict
    from stkit.training.staged import StagedTraining, layer_groups


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'stkit' has no attribute {name!r}")
    value = getattr(import_module(f"stkit.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
