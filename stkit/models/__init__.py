"""Models by name, and the two things the methods ask of any model: its layers and its features.

To add a model, write a builder `(classes, size) -> nn.Module` and put it into `BUILDERS`, with a
line about it in `recipes.MODELS`.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stkit.models import resnet
from stkit.recipes import choose
from stkit.rng import stream

BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet18": resnet.resnet18,
    "small": resnet.small,
}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def create(
    name: str,
    *,
    classes: int,
    size: int,
    seed: int = 0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> nn.Module:
    """A model with fresh weights drawn from the seed. It takes float [N,3,size,size] in [0,1].

    mean, std: a normalisation inside the model, in no `state_dict`. RecipeError: unknown name.
    """
    build = BUILDERS[choose("model", name, BUILDERS)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "init").initial_seed())
        model = build(classes, size)
    normalise(model, mean, std)
    return model


def normalise(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Make the model subtract `mean` and divide by `std` first; nothing where that is identity."""
    if all(m == 0 for m in mean) and all(s == 1 for s in std):
        return
    for key, value in (("pixel_mean", mean), ("pixel_std", std)):
        model.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def standardise(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return ((args[0] - module.get_buffer("pixel_mean")) / module.get_buffer("pixel_std"),)

    model.register_forward_pre_hook(standardise)


def classifier(model: nn.Module) -> nn.Linear:
    """The last linear layer, whose input is the penultimate activation."""
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]


def features(model: nn.Module, images: Tensor) -> Tensor:
    """The penultimate activation, float32 [N,D]: the input of the last linear layer.

    images: float [N,3,H,W] in [0,1]. The model stays in the mode it is in.
    """
    caught: list[Tensor] = []
    hook = classifier(model).register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return caught[0].flatten(1).float()


def layers(model: nn.Module, size: int) -> list[list[str]]:
    """The names of the parameters of each layer, counted in forward order from the input.

    A layer is a conv or linear module with its norm: the norm that takes its output, or else, in
    pre-activation nets, the norm that feeds it. What belongs to neither goes with the first layer.
    (ST paper, `l` of Eq. 7: 21 for ResNet-18.) Found by a forward pass without any arithmetic.
    """
    ghost = copy.deepcopy(model).to("meta").eval()
    order: list[str] = []  # conv and linear modules as they are called
    made: dict[int, str] = {}  # id of an output -> the module that made it
    owner: dict[str, str] = {}  # norm -> its conv or linear
    waiting: list[str] = []  # norms that feed the next conv or linear
    alive: list[Tensor] = []  # keeps the ids above unique

    def called(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            if isinstance(module, WEIGHTED):
                if name not in order:
                    order.append(name)
                owner.update(dict.fromkeys(waiting, name))
                waiting.clear()
                made[id(output)] = name
                alive.append(output)
            elif id(args[0]) in made:
                owner[name] = made[id(args[0])]
            else:
                waiting.append(name)

        return hook

    for name, module in ghost.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_hook(called(name))
    with torch.no_grad():
        ghost(torch.empty(2, 3, size, size, device="meta"))
    groups: dict[str, list[str]] = {name: [] for name in order}
    for name, _ in model.named_parameters():
        module_name = name.rpartition(".")[0]
        home = module_name if module_name in groups else owner.get(module_name, order[0])
        groups[home].append(name)
    return list(groups.values())
