"""Drawn shapes: the same on every machine, as many as are asked for, of any size."""

import hashlib

import pytest
import torch

from stkit import load
from stkit.data.shapes import FORMS


def test_a_smaller_set_is_the_beginning_of_a_larger_one(cli, tmp_path):
    some, more = load("shapes", limit=20), load("shapes", limit=30)
    assert torch.equal(more.pixels[:20], some.pixels) and torch.equal(more.labels[:20], some.labels)
    assert more.labels.bincount().tolist() == [3] * 10 and more.classes == tuple(FORMS)
    assert not torch.equal(load("shapes", "test", limit=20).pixels, some.pixels)
    made = cli("data", "shapes", "--size", 24, "--limit", 12, "-o", tmp_path / "x", "--json").json
    assert (made["n"], made["width"], made["height"], made["classes"]) == (12, 24, 24, 10)
    refused = cli("data", "shapes", "--size", 1025, "-o", tmp_path / "y")
    assert (refused.code, refused.err.count("\n")) == (2, 1) and "1,024 at most" in refused.err


@pytest.mark.parametrize(
    ("split", "size", "digest"),
    [("train", 32, "dcf4af70b2531882"), ("test", 50, "df483d7bc7719ea7")],
)
def test_the_same_images_on_every_machine(split, size, digest):
    pixels = load("shapes", split, size=size, limit=20).pixels
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] == digest


def test_a_form_is_its_class_whatever_the_size_of_the_picture():
    """Drawn larger, it covers the same share of the picture."""
    small, large = (load("shapes", size=size, limit=10).pixels.float() for size in (32, 96))
    shrunk = torch.nn.functional.avg_pool2d(large, 3)
    assert (shrunk - small).abs().mean() < 4
