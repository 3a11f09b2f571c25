"""Data sets of one's own tensors: what is taken, how it is rounded, what is refused."""

import pytest
import torch

from stkit import OPS, Images, load, poison
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import to_float


def pixels(count: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=stream(0, "test")).byte()


LABELS = torch.arange(12) % 3


def test_from_tensors():
    images = Images.from_tensors(pixels(), LABELS.to(torch.int16))
    assert images.pixels.equal(pixels()) and images.labels.equal(LABELS)
    assert images.classes == ("0", "1", "2") and images.header["split"] == "train"
    assert images.index.equal(torch.arange(12)) and images.poisoned is None
    named = Images.from_tensors(pixels(), LABELS, classes="abcd", split="test", name="mine")
    assert named.classes == tuple("abcd") and named.header["recipe"]["source"] == "mine"


def test_names_of_classes_become_text_and_gradients_end(tmp_path):
    floats = to_float(pixels()).requires_grad_()
    images = Images.from_tensors(floats, LABELS, classes=[7, 8, 9])
    assert images.classes == ("7", "8", "9") and not images.pixels.requires_grad
    images.save(tmp_path / "f.safetensors")
    assert load(tmp_path / "f.safetensors").classes == images.classes


def test_floats_are_taken_to_the_nearest_grey_level():
    """Those made of 8-bit images come back exactly; halves go to the even level, as round does."""
    assert Images.from_tensors(to_float(pixels()), LABELS).pixels.equal(pixels())
    assert Images.from_tensors(to_float(pixels()).double(), LABELS).pixels.equal(pixels())
    levels = torch.tensor([0.4, 0.6, 254.4, 254.6, 255.0])
    images = (levels / 255).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    made = Images.from_tensors(images, torch.arange(5))
    assert made.pixels[:, 0, 0, 0].tolist() == [0, 1, 254, 255, 255]


def test_a_file_brings_them_back(tmp_path):
    images = Images.from_tensors(pixels(), LABELS, name="mine")
    head = images.save(tmp_path / "f.safetensors")
    again = load(tmp_path / "f.safetensors")
    assert again.pixels.equal(images.pixels) and again.labels.equal(images.labels)
    assert again.header == head and head["digest"] == images.provenance["digest"]
    poisoned = poison(images, OPS(), seed=1)
    assert poisoned.header["inputs"][0]["recipe"]["source"] == "mine"


@pytest.mark.parametrize(
    ("bad", "labels", "message"),
    [
        ([[1]], LABELS, "t: pixels are a list, expected a tensor .N,3,H,W.; pass torch.as_tensor"),
        (
            pixels().float(),
            LABELS,
            r"from 0 to 255, expected \[0,1\] where they are floats; divide",
        ),
        (torch.full((12, 3, 8, 8), torch.nan), LABELS, "run from nan to nan, expected"),
        (pixels() - 1.0 / 255, LABELS, "or undo the normalisation, which belongs in the model"),
        (
            pixels().int(),
            LABELS,
            "images are torch.int32 .*, expected uint8 .N,3,H,W.; pass tensors",
        ),
        (pixels().permute(0, 2, 3, 1), LABELS, "images are torch.uint8 .12, 8, 8, 3., expected"),
        (pixels()[:0], LABELS[:0], r"images are torch.uint8 \[0, 3, 8, 8\], expected"),
        (pixels(), LABELS.float(), "labels are torch.float32, expected a tensor of whole numbers"),
        (pixels(), LABELS > 1, "labels are torch.bool, expected"),
        (pixels(), [0] * 12, "labels are list, expected"),
        (pixels(), LABELS[:5], "labels are torch.int64 .5., expected int64 .12.; pass tensors"),
        (pixels(), LABELS - 1, "labels run from -1 to 1, expected 0 to 1"),
    ],
)
def test_what_is_refused(bad, labels, message):
    with pytest.raises(DataError, match=message):
        Images.from_tensors(bad, labels, name="t")


def test_labels_and_classes_must_agree():
    with pytest.raises(DataError, match="labels run from 0 to 2, expected 0 to 1 for 2 classes"):
        Images.from_tensors(pixels(), LABELS, classes=["a", "b"])
    with pytest.raises(RecipeError, match="unknown split 'tset'; did you mean 'test'"):
        Images.from_tensors(pixels(), LABELS, split="tset")


def test_a_set_in_a_short_line():
    images = Images.from_tensors(pixels(), LABELS)
    assert repr(images) == "Images(12 of 8x8, 3 classes, train, clean)"
    assert repr(poison(images, OPS())) == "Images(12 of 8x8, 3 classes, train, ops)"
