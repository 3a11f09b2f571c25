"""The layers of any model, counted from the input, for ST.

Nothing needs to know the architecture: layers are found by watching one forward pass, which
parameters every operation takes and whose output it works on.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from stkit.core.errors import RecipeError
from stkit.engine.pgd import evaluating

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def heads(model: nn.Module) -> list[nn.Module]:
    """What timm says makes this model's logits; none where timm says nothing."""
    ask = getattr(model, "get_classifier", None)
    if ask is None:
        return []
    said = ask()
    around = said if isinstance(said, (tuple, list)) else [said]
    inside = ([m for m in head.modules() if isinstance(m, WEIGHTED)] for head in around)
    return [weighted[-1] for weighted in inside if weighted]


def layers(model: nn.Module, size: int) -> list[list[str]]:
    """The names of the parameters of each layer, counted in forward order from the input.

    model: any `nn.Module` that takes float [N,3,size,size]; it is called once, in evaluation mode,
    and left in the mode it is in. Every parameter is in exactly one layer: these are the parameter
    groups of an optimizer for ST.

    A layer is a conv or linear module (ST paper, `l` of Eq. 7: 21 for ResNet-18) with its norms. A
    norm *follows* the module whose output it takes and *feeds* the one that takes its own, directly
    or by way of operations on that tensor alone. Where it does both, the net decides: it is
    pre-activation when one of its norms follows none and feeds a module that is not the classifier;
    then norms go with what they feed, else with what they follow. A norm that does neither goes
    with the next module called. Any other parameter goes to the first layer of the smallest part of
    the net around it: a bias of relative positions to its attention's, class token and position
    embedding, which are the whole net's, to the first. RecipeError: not for images of this size, or
    without a conv or linear module that is used.
    """
    units = _units(model)
    watch = _Watch(model, units)
    check(model, size, watch, what=f"a {type(model).__name__}")
    if not watch.layers:
        raise RecipeError(
            f"a {type(model).__name__} calls no conv or linear module, expected one or more, which "
            "are ST's layers; compute with an nn.Conv2d or an nn.Linear"
        )
    logits = heads(model)
    homes = _homes(watch, {name for name, module in model.named_modules() if module in logits})
    groups: dict[str, list[str]] = {layer: [] for layer in watch.layers}
    for name, unit in units.items():
        groups[homes[unit] if unit in homes else _around(unit, watch.layers)].append(name)
    return list(groups.values())


def check(
    model: nn.Module,
    size: int,
    watch: AbstractContextManager[Any] | None = None,
    *,
    what: str,
) -> None:
    """A forward pass of a black image within `watch`; RecipeError if the model cannot take it.

    Nor is one taken that has nothing to learn, see `learnable`. On real tensors: on the meta device
    the first pass costs over a second, of imports.
    """
    learnable(model, what)
    images = next(model.parameters()).new_zeros(1, 3, size, size)
    try:
        with evaluating(model), torch.no_grad(), watch or nullcontext():
            model(images)
    except Exception as error:  # an architecture may raise anything
        raise RecipeError(unfit(what, size, error)) from error


def learnable(model: nn.Module, what: str) -> None:
    """RecipeError unless the model is one as made by its class, with parameters that exist."""
    refuse_compiled(model, what)
    parameters = list(model.parameters())
    if not parameters:
        raise RecipeError(
            f"{what} has no parameters, expected some that can learn; pass a module with weights"
        )
    if any(is_lazy(parameter) for parameter in parameters):
        raise RecipeError(
            f"{what} has uninitialized parameters, expected their shapes to be known; "
            "call the module on a batch of images first"
        )


def refuse_compiled(model: nn.Module, what: str) -> None:
    """RecipeError for what torch.compile returns: its parameters have other names."""
    if "_orig_mod" in dict(model.named_children()):
        raise RecipeError(
            f"{what} is compiled, expected a module as it was made; "
            "pass the module before torch.compile"
        )


def number_type(model: nn.Module) -> torch.dtype:
    """What the model computes in, and takes images in: its first floating parameter's type, else
    torch's default."""
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(floating, torch.get_default_dtype())


def unfit(what: str, size: int, error: Exception) -> str:
    """What to say of a model that cannot take images of a size."""
    return (
        f"{what} cannot take images of {size}x{size} pixels ({reason(error)}); "
        "resize them with `stkit data --size`, or pass another --model"
    )


def reason(error: Exception) -> str:
    """An error in one short line."""
    return shorten(str(error), 150, placeholder=" ...") or type(error).__name__


def _weighted(model: nn.Module) -> set[str]:
    """The names of the conv and linear modules."""
    return {name for name, module in model.named_modules() if isinstance(module, WEIGHTED)}


def _units(model: nn.Module) -> dict[str, str]:
    """Parameter -> the module it counts with: the conv or linear around it, else its own."""
    weighted = _weighted(model)
    units = {}
    for name, _ in model.named_parameters():
        words = name.split(".")[:-1]
        around = [".".join(words[:i]) for i in range(len(words) + 1)]
        units[name] = next((unit for unit in around if unit in weighted), around[-1])
    return units


class _Watch(TorchFunctionMode):
    """Notes which units the operations of a forward pass take, and whose output they work on.

    A tensor made of parameters alone belongs to their units. Any other has an *origin*, the unit
    whose output it is by way of operations on one tensor, or on several of the same origin; a sum
    with a shortcut has none. A unit that is no conv or linear is taken for a norm if it holds no
    other; what belongs to none is watched as a constant. A tensor carries its note with it: the
    units of a constant as a tuple, an origin as a string.
    """

    def __init__(self, model: nn.Module, units: dict[str, str]) -> None:
        super().__init__()
        self.weighted = _weighted(model)
        self.layers: dict[str, None] = {}  # conv and linear modules as they are used
        self.before: dict[str, int] = {}  # norm -> how many layers were used before it
        self.follows: dict[str, str] = {}
        self.feeds: dict[str, str] = {}
        holders = {unit[:i] for unit in units.values() for i, c in enumerate(unit) if c == "."}
        loose = (holders | {""}) - self.weighted
        self.fixed: dict[int, tuple[str, ...]] = {id(buffer): () for buffer in model.buffers()}
        for name, parameter in model.named_parameters():
            self.fixed[id(parameter)] = () if units[name] in loose else (units[name],)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        taken = list(_tensors((args, kwargs)))
        notes = [self.fixed.get(id(t), vars(t).get("stkit_note")) for t in taken]
        made = list(_tensors(out)) or taken[:1]  # an assignment returns nothing
        owners = tuple(dict.fromkeys(o for note in notes if isinstance(note, tuple) for o in note))
        origins = {note for note in notes if not isinstance(note, tuple)}
        note: tuple[str, ...] | str | None = owners
        if origins:
            note = self._use(owners, origins.pop() if len(origins) == 1 else None)
        for tensor in made:
            if id(tensor) not in self.fixed:
                vars(tensor)["stkit_note"] = note
        return out

    def _use(self, owners: tuple[str, ...], origin: str | None) -> str | None:
        """Units are used on a tensor of this origin; the origin of the result."""
        layers = [unit for unit in owners if unit in self.weighted]
        for unit in owners:
            if unit in self.weighted:
                self.layers.setdefault(unit)
            else:
                self.before.setdefault(unit, len(self.layers))
                if origin in self.weighted:
                    self.follows.setdefault(unit, origin)
        if layers and origin is not None and origin not in self.weighted:
            self.feeds.setdefault(origin, layers[0])
        return [origin, *owners, *layers][-1]


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _homes(watch: _Watch, heads: set[str]) -> dict[str, str]:
    """Unit that was used -> its layer; heads: the layers that are the classifier."""
    order = list(watch.layers)
    pre_activation = any(
        fed not in (heads or order[-1:]) and norm not in watch.follows
        for norm, fed in watch.feeds.items()
    )
    homes = {norm: order[min(before, len(order) - 1)] for norm, before in watch.before.items()}
    homes |= watch.feeds | watch.follows
    if pre_activation:
        homes |= watch.feeds
    return homes | dict(zip(order, order, strict=True))


def _around(unit: str, order: Iterable[str]) -> str:
    """The first layer inside the smallest module around a unit that has one."""
    while unit:
        for layer in order:
            if layer.startswith(f"{unit}."):
                return layer
        unit = unit.rpartition(".")[0]
    return next(iter(order))
