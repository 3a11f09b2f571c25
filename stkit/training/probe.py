"""The probe D^s as anyone's loop gives it to `StagedTraining`, checked at its door."""

import torch
from torch import Tensor

from stkit.core.errors import DataError


def check_probe(images: Tensor, labels: Tensor) -> None:
    """DataError unless ACM can be measured on these."""
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise DataError(
            f"the probe is of {type(images).__name__} images and {type(labels).__name__} labels, "
            "expected tensors; pass torch.as_tensor of each"
        )
    if images.ndim != 4 or images.shape[1] != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"the probe is of {tuple(images.shape)} images and {tuple(labels.shape)} labels, "
            "expected [N,3,H,W] and [N]"
        )
    if labels.is_floating_point() or not (
        images.is_floating_point() or images.dtype is torch.uint8
    ):
        raise DataError(
            f"the probe is of {images.dtype} images and {labels.dtype} labels, "
            "expected float in [0,1] or uint8, and int64"
        )
    if len(labels.unique()) < 2 or int(labels.min()) < 0:
        raise DataError(
            f"the probe's labels are {labels.unique()[:5].tolist()}, expected two classes or more, "
            "counted from 0"
        )
    low, high = images.aminmax() if images.is_floating_point() else (0, 1)
    if not 0 <= float(low) <= float(high) <= 1:  # NaN too
        raise DataError(
            f"the probe's pixels run from {float(low):g} to {float(high):g}, expected [0,1]; "
            "divide by 255, or undo the normalisation, which belongs in the model"
        )
