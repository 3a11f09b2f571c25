"""Any model of timm by its name, with timm's own initial weights, normalisation and, when asked
for, pretrained weights. timm is imported here only, and only when such a model is made.
"""

import logging
import os
from difflib import get_close_matches
from typing import Any

from torch import nn

from stkit.core.errors import RecipeError, StkitError
from stkit.models.structure import check, reason, unfit

Triple = tuple[float, float, float]
TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""What makes `torch.load` run nothing of a file, also for versions of timm that ask it to."""


def build(name: str, classes: int, size: int, *, pretrained: bool = False) -> nn.Module:
    """The model for square images of this size; float [N,3,size,size], normalised -> [N,classes].

    pretrained: with the weights that timm finds in its cache or downloads, apart from the
    classifier's unless the classes are as many. RecipeError: a name or tag that timm does not have,
    no pretrained weights, or an architecture that cannot take this size. StkitError: weights that
    cannot be had.
    """
    cfg = _config(name)
    if pretrained and not cfg.has_weights:
        raise RecipeError(f"timm has no pretrained weights for {name}; leave out --pretrained")
    try:
        model = _create(name, classes, size, pretrained)
    except Exception as error:  # whatever an architecture or a client of the network raises
        if pretrained:
            build(name, classes, size)  # a RecipeError when it is the architecture
            raise StkitError(
                f"the pretrained weights of {name} could not be loaded ({reason(error)}); connect "
                "to the network once, which fills timm's cache, or leave out --pretrained"
            ) from error
        raise RecipeError(unfit(f"timm's {name}", size, error)) from error
    _check_patch(model, name, size)
    if size < cfg.input_size[-1]:
        check(model, size, what=f"timm's {name}")
    return model


def normalisation(name: str) -> tuple[Triple, Triple]:
    """The mean and standard deviation that timm gives images before this model."""
    cfg = _config(name)
    return cfg.mean, cfg.std


def _config(name: str) -> Any:
    """What timm notes of a model's weights and input. RecipeError: no such model."""
    import timm

    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        near = get_close_matches(plain.lower(), timm.list_models(), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise RecipeError(f"unknown timm model {plain!r}; {hint}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(plain)]
    if tag and tag not in tags:
        raise RecipeError(
            f"unknown weights {tag!r} of timm's {plain}; "
            + (f"choose one of {', '.join(tags)}" if tags else "it has none")
        )
    return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()


def _create(name: str, classes: int, size: int, pretrained: bool) -> nn.Module:
    """By timm, with `img_size` where the architecture has one."""
    import timm

    hub = logging.getLogger("huggingface_hub")  # which writes a line for every try
    level = hub.level
    hub.setLevel(logging.ERROR)
    before = os.environ.get(TENSORS_ONLY)
    os.environ[TENSORS_ONLY] = "1"
    try:
        return timm.create_model(name, pretrained, num_classes=classes, img_size=size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, pretrained, num_classes=classes)
    finally:
        hub.setLevel(level)
        del os.environ[TENSORS_ONLY]
        if before is not None:
            os.environ[TENSORS_ONLY] = before


def _check_patch(model: nn.Module, name: str, size: int) -> None:
    """RecipeError when patches leave a border of the images out, which timm does silently."""
    embedding = getattr(model, "patch_embed", None)
    patch = getattr(embedding, "patch_size", 1)
    patch = max(patch) if isinstance(patch, tuple) else patch
    if size % patch and not getattr(embedding, "dynamic_img_pad", False):
        fitting = max(patch, size // patch * patch)
        raise RecipeError(
            f"timm's {name} cuts images into patches of {patch} pixels, which do not divide "
            f"{size}; resize the images with `stkit data --size {fitting}`"
        )
