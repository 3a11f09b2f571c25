"""Weights of a checkpoint in a model that is to be trained: all of them, or those of some layers.

    train(images, "nt", model="resnet18", init_from="clean.safetensors",
          init_layers="layer1.0,layer1.1", freeze=True)

So the ST paper makes M^S and M^D (sec. 3.2, Fig. 2, Fig. 7): nets with random weights but for the
first, or the last, two residual blocks, which are a clean net's and do not learn. Layers that are
counted are ST's (`models.layers`) without the classifier, which is never among `last:N`. What
belongs to a layer goes with it: its norm, and the statistics of that. A module without parameters
of its own that holds numbers goes with the one defined before it.

Frozen is what no step changes a bit of: parameters have no gradient, so that neither momentum nor
weight decay moves them, and norms use the statistics that they have. ST still counts these layers.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core import artifact
from stkit.core.checks import nearest
from stkit.core.errors import ArtifactError, RecipeError
from stkit.core.header import Header
from stkit.data.images import Images
from stkit.measure.subject import Checkpoint, parent
from stkit.models.weights import BESIDE
from stkit.recipes.training import Init, TrainingRecipe
from stkit.training.plan import Plan


@dataclass(frozen=True)
class Donor:
    """A checkpoint that weights are taken from; name: what messages call it."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    header: Header = field(repr=False)
    name: str


@dataclass(frozen=True)
class Transplant:
    """What was taken over.

    names: in the `state_dict`. parameters: how many numbers of it are weights. still: the modules
    that keep their statistics, so that they stay in evaluation mode; none unless frozen. parents:
    the donor's header.
    """

    names: frozenset[str] = frozenset()
    parameters: int = 0
    still: tuple[str, ...] = ()
    parents: list[Header] = field(default_factory=list)


def donor(source: str | Path | Checkpoint) -> Donor:
    """The weights in a checkpoint's file, or those that a model has now.

    ArtifactError for a file that is no checkpoint or unfinished, RecipeError for something else.
    """
    if isinstance(source, Checkpoint):
        return Donor(source.model.state_dict(), parent(source), source.name)
    if not isinstance(source, (str, Path)):
        raise RecipeError(
            f"init_from is a {type(source).__name__}, expected a file or a Checkpoint; "
            "pass what `run.save(path)` wrote, or run.checkpoint"
        )
    head, tensors = artifact.read(Path(source), "checkpoint")
    if not head["progress"]["done"]:
        raise ArtifactError(f"{source}: unfinished; run the same `stkit train` with --resume")
    weights = {name: value for name, value in tensors.items() if not name.startswith(BESIDE)}
    return Donor(weights, head, str(source))


def plant(
    model: nn.Module, given: Donor | None, recipe: TrainingRecipe, todo: Plan, images: Images
) -> Transplant:
    """Put the donor's weights into the model, and freeze them, as far as the recipe's `init` says.

    Frozen parameters are left so: `requires_grad` is false. RecipeError for layers that the model
    does not have, and where nothing would learn; ArtifactError for a donor that does not fit the
    model or the images. The model is changed only where there is no error.
    """
    if given is None or recipe.init is None:
        return Transplant()
    init, size = recipe.init, images.size
    if given.header["model"] != recipe.model:
        raise ArtifactError(
            f"{given.name}: found a {given.header['model']}, expected a {recipe.model}, which is "
            "to be trained; pass the same --model, or another checkpoint"
        )
    body, classifier = _halves(model, size)
    names = _names(model, init, body, recipe.model)
    parameters = _parameters(model, names)
    if init.freeze and not any(
        each.requires_grad and name not in parameters for name, each in model.named_parameters()
    ):
        raise RecipeError(
            "freeze leaves nothing to learn, expected some layers that are not taken over; "
            "pass --init-layers, or leave out --freeze"
        )
    _check_images(given, todo, images, answers=bool(names & classifier))
    _copy(model, given, names, size)
    for name, each in model.named_parameters():
        if init.freeze and name in parameters:
            each.requires_grad_(False)
    count = sum(each.numel() for name, each in model.named_parameters() if name in parameters)
    still = _still(model, names) if init.freeze else ()
    return Transplant(names, count, still, [given.header])


def _halves(model: nn.Module, size: int) -> tuple[list[list[str]], set[str]]:
    """The layers before the classifier, from the input, and the classifier's parameters."""
    counted = models.layers(model, size)
    held = {id(each) for head in models.classifiers(model) for each in head.parameters()}
    named = dict(model.named_parameters())
    classifier = [layer for layer in counted if any(id(named[name]) in held for name in layer)]
    classifier = classifier or counted[-1:]
    return (
        [layer for layer in counted if layer not in classifier],
        {name for layer in classifier for name in layer},
    )


def _names(model: nn.Module, init: Init, body: list[list[str]], what: str) -> frozenset[str]:
    """What of the `state_dict` is taken. RecipeError for layers that are not there."""
    state = model.state_dict()
    if init.layers is None:
        return frozenset(state)
    if init.counted is None:
        return frozenset(name for module in init.names for name in _inside(model, module, state))
    end, count = init.counted
    if not 1 <= count <= len(body):
        raise RecipeError(
            f"init-layers is {init.layers}, expected {end}:1 to {end}:{len(body)}, as {what} has "
            f"{len(body)} layers before its classifier"
        )
    layers = body[:count] if end == "first" else body[-count:]
    chosen = {name for layer in layers for name in layer}
    owner, owners = "", {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    taken = {name.rpartition(".")[0] for name in chosen}
    buffers: set[str] = set()
    for module, each in model.named_modules():
        owner = module if module in owners else owner
        if owner in taken:
            prefix = f"{module}." if module else ""
            buffers |= {f"{prefix}{name}" for name, _ in each.named_buffers(recurse=False)}
    return frozenset((chosen | _aliases(model, chosen) | buffers) & state.keys())


def _inside(model: nn.Module, module: str, state: Mapping[str, object]) -> set[str]:
    """What a module holds of the `state_dict`. RecipeError where there is no such module."""
    names = {name for name in state if name.startswith(f"{module}.")}
    if not names:
        known = [
            name for name, each in model.named_modules()
            if name and any(name for name, _ in each.named_parameters())
        ]  # fmt: skip
        raise RecipeError(nearest("layer", module, known))
    return names


def _aliases(model: nn.Module, chosen: Set[str]) -> set[str]:
    """Other names of the same parameters."""
    named = dict(model.named_parameters(remove_duplicate=False))
    same = {id(named[name]) for name in chosen}
    return {name for name, each in named.items() if id(each) in same}


def _parameters(model: nn.Module, names: frozenset[str]) -> set[str]:
    """Those of these names, and other names of theirs, that are parameters."""
    named = dict(model.named_parameters(remove_duplicate=False))
    return _aliases(model, names & named.keys())


def _check_images(given: Donor, todo: Plan, images: Images, *, answers: bool) -> None:
    """ArtifactError for a donor of another number of classes, where it `answers` by its classifier,
    and for one whose images were normalised otherwise."""
    count, classes = len(given.header["classes"]), len(images.classes)
    if answers and count != classes:
        raise ArtifactError(
            f"{given.name}: has {count} classes, expected {classes} as the images have, since its "
            "classifier is taken; pass --init-layers first:N to leave it out"
        )
    before, now = ([*map(float, each)] for each in (given.header["mean"], given.header["std"]))
    if (before, now) != ([*map(float, todo.mean)], [*map(float, todo.std)]):
        raise ArtifactError(
            f"{given.name}: takes images with mean {_said(before)} and std {_said(now)}, expected "
            f"{_said(todo.mean)} and {_said(todo.std)}; pass --mean {_said(before)} --std "
            f"{_said(now)}"
        )


def _said(numbers: tuple[float, ...] | list[float]) -> str:
    return ",".join(f"{each:g}" for each in numbers)


@torch.no_grad()
def _copy(model: nn.Module, given: Donor, names: frozenset[str], size: int) -> None:
    """Each of these tensors, bit for bit. ArtifactError, before any is copied, for what the donor
    lacks or has of another shape or type."""
    state = model.state_dict()
    for name in sorted(names):
        other = given.tensors.get(name)
        if other is None or (other.shape, other.dtype) != (state[name].shape, state[name].dtype):
            held = "nothing" if other is None else f"{other.dtype} {list(other.shape)}"
            raise ArtifactError(
                f"{given.name}: has {held} as {name!r}, expected {state[name].dtype} "
                f"{list(state[name].shape)}; it is for images of {given.header['size']} pixels, "
                f"these have {size}: pass one for the same, or other --init-layers"
            )
    for name in names:
        state[name].copy_(given.tensors[name])


def _still(model: nn.Module, names: frozenset[str]) -> tuple[str, ...]:
    """The modules that hold what is taken and is no parameter."""
    named = dict(model.named_parameters(remove_duplicate=False))
    return tuple(sorted({name.rpartition(".")[0] for name in names - named.keys()}))
