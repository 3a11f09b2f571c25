"""The models and the data sets there are, a line about each."""

from dataclasses import dataclass

from stkit.core.checks import nearest, suggestion
from stkit.core.errors import RecipeError

DATASETS = {
    "digits": "8x8 handwritten digits of scikit-learn at 32x32, split 80/20; no download",
    "cifar10": "CIFAR-10, downloaded once by torchvision",
    "cifar100": "CIFAR-100, downloaded once by torchvision",
}


def no_source(name: str) -> str:
    """What to say of a source that is not there."""
    known = f"a folder of class folders, a file made by stkit, or one of {', '.join(DATASETS)}"
    hint = suggestion(name, DATASETS) or f"expected {known}"
    return f"{name}: no such folder, file or known data set; {hint}"


@dataclass(frozen=True)
class Net:
    """What there is to say of a model: its parameters at 10 classes, its layers as ST counts."""

    about: str
    parameters: int
    layers: int


MODELS = {
    "resnet18": Net("ResNet-18, 3x3 stem", 11_173_962, 21),
    "resnet50": Net("ResNet-50, 3x3 stem", 23_520_842, 54),
    "vgg16-bn": Net("VGG-16 with BatchNorm, at 32 px or more", 15_253_578, 16),
    "densenet121": Net("DenseNet-121, 3x3 stem", 6_956_298, 121),
    "wrn-28-10": Net("Wide ResNet 28-10, pre-activation", 36_479_194, 29),
    "wrn-34-10": Net("Wide ResNet 34-10, pre-activation", 46_160_474, 35),
    "small": Net("a thin ResNet-10 for laptops", 309_114, 14),
}
"""The models of stkit, as they are on images of up to SMALL pixels."""
SMALL = 64
TIMM = "timm:"
"""Before the name of a model that timm makes."""


def model_name(name: str) -> str:
    """`name` if it is one of MODELS or timm:NAME, which is looked up when the model is made."""
    if name.startswith(TIMM) and name != TIMM:
        return name
    if name in MODELS:
        return name
    more = f"or {TIMM}{name}, where timm has such a model"
    if suggestion(name, MODELS):
        more = f"any model of timm is {TIMM}NAME"
    raise RecipeError(f"{nearest('model', name, MODELS)}; {more}")
