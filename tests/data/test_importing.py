"""Files as their authors write them, imported; and files that are something else."""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, SIDE, snapshot
from PIL import Image
from torch import Tensor

import reference
from stkit import load
from stkit.core import header
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data import images
from stkit.data.images import Images
from stkit.data.importing import fitting, layouts
from stkit.data.importing.layouts import LAYOUTS
from stkit.data.importing.load import load as load_foreign
from stkit.data.importing.unpickle import bare_array
from stkit.data.importing.values import Options
from stkit.measure import comparison
from stkit.poisons import poison, sp
from stkit.recipes.poisons import SP

N, K = 24, 3
EIGHT = 8 / 255


@pytest.fixture(scope="module")
def clean(photos) -> Images:
    """24 images of random colours in 3 classes, stored in another order than that of `index`."""
    return load(photos)


def ordered(images: Images) -> tuple[Tensor, Tensor]:
    """Images uint8 [N,3,H,W] and labels as another code base has them: in the order of `index`."""
    order = images.index.argsort()
    return images.pixels[order], images.labels[order]


def noise(*shape: int, bound: float = EIGHT, seed: int = 0) -> Tensor:
    """float32 noise uniform in [-bound, bound]."""
    draw = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (2 * draw - 1) * bound


def authors_em(images: Tensor, added: Tensor) -> Tensor:
    """EM's loader: noise times 255 in float32, added in float32, clipped, truncated."""
    total = images.numpy().astype(np.float32) + (added * 255).numpy()
    return torch.from_numpy(np.clip(total, 0, 255).astype(np.uint8))


def bring(path: Path, clean: Images, layout: str = "auto", **options) -> tuple[Images, str]:
    """The imported data set in the order of `index`, and its notes as one text."""
    found, notes = load_foreign(path, clean, layout=layout, options=Options(**options))
    assert torch.equal(found.index.sort().values, clean.index.sort().values)
    return found.rows(found.index.argsort()), "\n".join(notes)


# EM, TUE, AUE


def test_em_sample_wise_as_its_authors_read_it(clean, tmp_path):
    images, labels = ordered(clean)
    added = noise(N, 3, SIDE, SIDE)
    torch.save(added, tmp_path / "perturbation.pt")
    found, notes = bring(tmp_path / "perturbation.pt", clean, epsilon=EIGHT)
    assert torch.equal(found.pixels, authors_em(images, added))
    assert torch.equal(found.labels, labels) and found.poisoned.all()
    assert "float32 [24, 3, 16, 16], sample-wise" in notes and "--sign positive" in notes
    head = load_foreign(tmp_path / "perturbation.pt", clean)[0].header
    assert head["inputs"][0]["digest"] == clean.provenance["digest"]
    assert head["method"] == "perturbation"
    assert head["recipe"] == {
        "method": "perturbation", "imported": "em", "scope": "sample", "sign": "both",
        "rounding": "floor", "content": "float32 [24, 3, 16, 16], sample-wise",
    }  # fmt: skip
    assert head["statistics"]["n"] == N and head["statistics"]["linf"] == pytest.approx(EIGHT)


def test_em_positive_is_what_its_authors_loader_publishes(clean, tmp_path):
    images, _ = ordered(clean)
    added = noise(N, 3, SIDE, SIDE)
    torch.save(added, tmp_path / "p.pt")
    found, notes = bring(tmp_path / "p.pt", clean, sign="positive")
    assert torch.equal(found.pixels, authors_em(images, added.clamp_min(0)))
    assert "--sign" not in notes


def test_em_to_the_nearest(clean, tmp_path):
    images, _ = ordered(clean)
    added = noise(N, 3, SIDE, SIDE)
    torch.save(added, tmp_path / "p.pt")
    found, _ = bring(tmp_path / "p.pt", clean, rounding="nearest")
    want = (images + added.double() * 255).clamp(0, 255).round().to(torch.uint8)
    assert torch.equal(found.pixels, want)


@pytest.mark.parametrize("old", [False, True])
def test_em_class_wise_stays_class_wise(clean, tmp_path, old):
    images, labels = ordered(clean)
    added = noise(K, 3, SIDE, SIDE)
    parameter = torch.nn.Parameter(added)  # AUE saves one
    torch.save(parameter, tmp_path / "p.pt", _use_new_zipfile_serialization=not old)
    found, notes = bring(tmp_path / "p.pt", clean)
    assert torch.equal(found.pixels, authors_em(images, added[labels]))
    assert "class-wise" in notes and found.header["recipe"]["scope"] == "class"
    assert comparison.compare(found, clean).class_wise


def test_several_noises_a_class_one_drawn_for_each_image(clean, tmp_path):
    images, labels = ordered(clean)
    several = noise(4, K, 3, SIDE, SIDE)
    torch.save(several, tmp_path / "p.pt")
    found, notes = bring(tmp_path / "p.pt", clean)
    candidates = torch.stack([authors_em(images, several[p][labels]) for p in range(4)])
    which = (candidates == found.pixels).flatten(2).all(2)
    assert which.any(0).all() and len(which.int().argmax(0).unique()) > 1
    assert "[4, 3, 3, 16, 16], class-wise" in notes
    again, _ = bring(tmp_path / "p.pt", clean)
    other, _ = bring(tmp_path / "p.pt", clean, seed=1)
    assert torch.equal(found.pixels, again.pixels) and not torch.equal(found.pixels, other.pixels)
    assert other.header["seed"] == 1


def test_as_many_images_as_classes_is_asked(clean, tmp_path):
    three = clean.rows(torch.tensor([(clean.labels == k).nonzero()[1] for k in (2, 0, 1)]))
    torch.save(noise(K, 3, SIDE, SIDE), tmp_path / "p.pt")
    with pytest.raises(RecipeError, match="pass --scope sample or --scope class"):
        load_foreign(tmp_path / "p.pt", three)
    found, _ = bring(tmp_path / "p.pt", three, scope="class")
    other, _ = bring(tmp_path / "p.pt", three, scope="sample")
    images, labels = ordered(three)
    assert torch.equal(found.pixels, authors_em(images, noise(K, 3, SIDE, SIDE)[labels]))
    assert torch.equal(other.pixels, authors_em(images, noise(K, 3, SIDE, SIDE)))


def test_a_part_of_a_folder_takes_its_rows_of_the_whole_noise(photos, clean, tmp_path):
    added = noise(N, 3, SIDE, SIDE)
    torch.save(added, tmp_path / "p.pt")
    part = load(photos, limit=9)
    found, _ = bring(tmp_path / "p.pt", part)
    in_order, _ = ordered(part)
    assert torch.equal(found.pixels, authors_em(in_order, added[part.index.sort().values]))
    part.save(tmp_path / "part.safetensors")
    again, _ = bring(tmp_path / "p.pt", images.read(tmp_path / "part.safetensors"))
    assert torch.equal(found.pixels, again.pixels)
    whole = replace(part, header=clean.header)
    with pytest.raises(DataError, match="has 24 noises, expected 9"):
        load_foreign(tmp_path / "p.pt", whole)


def test_a_part_of_cifar_knows_how_many_there_are():
    head = header.make(
        "dataset", {"source": "cifar10", "size": None, "limit": 2}, seed=0, inputs=[],
        classes=["a", "b"], split="train",
    )  # fmt: skip
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    part = Images(images, torch.tensor([0, 1]), torch.tensor([30, 29]), head)
    rows = fitting.rows
    assert rows(50_000, part).tolist() == [30, 29] and rows(2, part).tolist() == [1, 0]
    assert rows(10_000, part) is None and rows(31, part) is None


def test_noise_for_other_images_is_doubted(photos, tmp_path):
    """Noise inside the range of its own pixels, on images of which many are black or white."""
    draw = torch.Generator().manual_seed(0)
    flat = torch.randint(0, 3, (N, 3, SIDE, SIDE), generator=draw).clamp(max=2) * 127
    images = replace(load(photos), pixels=flat.to(torch.uint8), index=torch.arange(N))
    added = (flat / 255 + noise(N, 3, SIDE, SIDE)).clamp(0, 1) - flat / 255
    torch.save(added, tmp_path / "own.pt")
    torch.save(added.roll(1, 0), tmp_path / "other.pt")
    assert "does not look" not in bring(tmp_path / "own.pt", images)[1]
    assert "does not look as if made for these" in bring(tmp_path / "other.pt", images)[1]


# The authors' own arithmetic


def graded(kind: str) -> np.ndarray:
    """[N,3,SIDE,SIDE]: noise near whole grey levels, of both signs, and anything between."""
    draw = np.random.default_rng(0)
    levels = draw.integers(-8, 9, (N, 3, SIDE, SIDE)) / 255
    off = draw.choice([0, 1e-8, -1e-8, 3e-7, 1e-6, 4e-3], levels.shape)
    return (levels + off).clip(-EIGHT, EIGHT).astype(kind)


def each(work, *arrays: np.ndarray) -> np.ndarray:
    """`work` on one value of each array at a time."""
    found = [work(*values) for values in zip(*(a.flat for a in arrays), strict=True)]
    return np.array(found, np.uint8).reshape(arrays[0].shape)


@pytest.mark.parametrize("sign", [None, "positive"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_em_by_its_authors_loader(clean, tmp_path, kind, sign):
    images, _ = ordered(clean)
    added = graded(kind)
    torch.save(torch.from_numpy(added), tmp_path / "p.pt")
    found, _ = bring(tmp_path / "p.pt", clean, rounding="loader", sign=sign, epsilon=0.04)
    want = each(
        lambda x, v: reference.em_loader(int(x), v, sign == "positive"), images.numpy(), added
    )
    assert np.array_equal(found.pixels.numpy(), want)
    assert found.header["recipe"]["rounding"] == "loader"
    floor, _ = bring(tmp_path / "p.pt", clean, rounding="floor", sign=sign, epsilon=0.04)
    assert torch.equal(found.pixels, floor.pixels) == (kind == np.float16)


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8"])
def test_sp_and_ops_by_their_authors_loaders(clean, tmp_path, kind):
    images, labels = ordered(clean)
    added = graded("<f8").astype(kind)
    np.save(tmp_path / "x.npy", added.transpose(0, 2, 3, 1))
    np.save(tmp_path / "y.npy", labels.numpy())
    for layout, slow, more in (
        ("sp", reference.sp_loader, {"labels": tmp_path / "y.npy"}),
        ("ops", reference.ops_loader, {"epsilon": 1.0}),
    ):
        found, _ = bring(tmp_path / "x.npy", clean, layout, rounding="loader", **more)
        want = each(lambda x, v, slow=slow: slow(int(x), v), images.numpy(), added)
        assert np.array_equal(found.pixels.numpy(), want)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_pictures_by_their_authors_loaders(clean, tmp_path, kind):
    images, labels = ordered(clean)
    x = (images.numpy() / 255 + graded("<f8")).clip(0, 1).astype(kind)
    torch.save({"data": torch.from_numpy(x), "labels": labels}, tmp_path / "p.pt")
    np.save(tmp_path / "x.npy", x.transpose(0, 2, 3, 1))
    np.save(tmp_path / "y.npy", labels.numpy())
    want = each(reference.picture_loader, x)
    for path, layout, more in (("p.pt", "pil", {}), ("x.npy", "ntga", {"labels": "y.npy"})):
        options = {name: tmp_path / value for name, value in more.items()}
        found, _ = bring(tmp_path / path, clean, layout, rounding="loader", **options)
        assert np.array_equal(found.pixels.numpy(), want)


# REM, SEM


@pytest.mark.parametrize("protocol", range(6))
def test_rem_as_its_authors_read_it(clean, tmp_path, protocol):
    images, _ = ordered(clean)
    added = torch.randint(-8, 9, images.shape, dtype=torch.int8)
    (tmp_path / "rem-fin-def-noise.pkl").write_bytes(pickle.dumps(added.numpy(), protocol))
    found, notes = bring(tmp_path / "rem-fin-def-noise.pkl", clean, epsilon=EIGHT)
    want = (images.short() + added).clamp(0, 255)
    assert torch.equal(found.pixels.short(), want)
    assert found.header["method"] == "rem-fin-def-noise" and "int8 [24, 3, 16, 16]" in notes


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.int8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
        np.arange(24, dtype=">i4").reshape(4, 6)[:, ::2],
        np.array([True, False]),
        np.array(7.0, np.float32),
        np.zeros((4, 3), np.uint16),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_a_bare_array_of_any_kind(tmp_path, array, protocol):
    for text in (pickle.dumps(array, protocol), b""):
        (tmp_path / "a.pkl").write_bytes(text or numpy_1(pickle.dumps(array, min(protocol, 3))))
        found = bare_array(tmp_path / "a.pkl")
        assert found.dtype == array.dtype and np.array_equal(found, array)


def numpy_1(text: bytes) -> bytes:
    """The pickle as NumPy 1 would have written it."""
    return text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


class Evil:
    """Unpickled, it would make a file."""

    def __init__(self, call, *arguments) -> None:
        self.made = (call, arguments)

    def __reduce__(self):
        return self.made


def evils(witness: Path) -> dict[str, object]:
    command = f"touch {witness}"
    run = Evil(os.system, command)
    array = np.zeros((2, 3, 4, 4), np.int8)
    return {
        "system": run,
        "eval": Evil(eval, f"open({str(witness)!r}, 'w')"),
        "exec": Evil(exec, f"open({str(witness)!r}, 'w')"),
        "getattr": Evil(getattr, "x", "upper"),
        "load": Evil(np.load, str(witness)),
        "in a list": [array, run],
        "in a dict": {"noise": array, "x": run},
        "in a tuple": ((((run,),),),),
        "as a key": {Evil(os.system, command): 1},
        "in an array": np.array([run, 1], dtype=object),
        "after": (array, Evil(os.mkdir, str(witness))),
        "a class": Path,
        "a function": os.system,
        "a scalar": np.float64(1),
    }


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_with_anything_else_is_refused_and_not_run(clean, tmp_path, protocol):
    witness = tmp_path / "witness"
    for name, value in evils(witness).items():
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(DataError, match="expected one bare NumPy array and nothing else") as e:
            load_foreign(tmp_path / "x.pkl", clean)
        assert "holds " in str(e.value) and "\n" not in str(e.value), name
        assert not witness.exists(), name


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"noise": np.zeros(3, np.int8)}, "holds a dict"),
        ([np.zeros(3, np.int8)], "holds a list"),
        ("text", "holds a str"),
        (None, "holds a nonetype"),
        (np.dtype("i4"), "holds a dtype"),
        (np.ndarray, "holds a type"),
    ],
)
def test_a_pickle_of_something_harmless_is_named(clean, tmp_path, value, found):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=found):
        load_foreign(tmp_path / "x.pkl", clean)


def test_pickles_that_are_forged_or_damaged(tmp_path):
    text = pickle.dumps(np.arange(6, dtype=np.int8), 3)
    tail = text[text.index(b"R") :]
    dtype, ndarray = b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"
    reconstruct = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n"
    forged = [
        text[:-9], b"\x80", b"", b"\x80\x04K", b"\x80\x02]R.", b"\x80\x02Pid\n.",
        b"\x80\x02" + tail, b"\x80\x02" + dtype + b"(K\x01K\x02K\x03K\x04t\x81.",
        text.replace(b"i1", b"i3"), text.replace(b"i1", b"O8"), text.replace(dtype, ndarray),
        text.replace(b"K\x06\x85", b"K\x07\x85"),
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00rottR.",
        reconstruct + b")R}b.", reconstruct + b")R.", reconstruct + b"}(K\x01K\x02ub.",
    ]  # fmt: skip
    for i, bad in enumerate(forged):
        (tmp_path / "x.pkl").write_bytes(bad)
        with pytest.raises(
            DataError, match=r"not a readable pickle|not an array of num|pickle holds"
        ):
            bare_array(tmp_path / "x.pkl")
            pytest.fail(f"forged {i} was read")


def test_torch_files_that_hold_code_or_a_model(clean, tmp_path):
    witness = tmp_path / "witness"
    for old in (False, True):
        for name, value in evils(witness).items():
            if name in ("a scalar", "in an array"):
                continue
            torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
            with pytest.raises(DataError, match="nothing of it was run") as refused:
                load_foreign(tmp_path / "x.pt", clean)
            assert "\n" not in str(refused.value) and not witness.exists(), name
    model = torch.nn.Linear(2, 2)
    for value in (model.state_dict(), {"model_state_dict": model.state_dict(), "epoch": 3}):
        torch.save(value, tmp_path / "x.pt")
        with pytest.raises(DataError, match="holds a model or another dict"):
            load_foreign(tmp_path / "x.pt", clean)
    torch.save(model, tmp_path / "x.pt")
    with pytest.raises(
        DataError, match=r"holds torch.nn.modules.linear.Linear, expected one tenso"
    ):
        load_foreign(tmp_path / "x.pt", clean)
    torch.save([torch.zeros(3)], tmp_path / "x.pt")
    with pytest.raises(DataError, match="holds a list"):
        load_foreign(tmp_path / "x.pt", clean)


def test_numpy_files_that_hold_objects(clean, tmp_path):
    witness = tmp_path / "witness"
    evil = np.array([Evil(os.system, f"touch {witness}")], dtype=object)
    np.save(tmp_path / "x.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "x.npz", data=evil, targets=evil)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=r"holds object .*; nothing of it was run"):
            load_foreign(tmp_path / name, clean)
    assert not witness.exists()


# SP, OPS, NTGA


def test_sp_in_its_own_order_with_its_labels(clean, tmp_path):
    """As the authors' data: drawn class by class at random, more than are needed, NHWC float32."""
    images, labels = ordered(clean)
    points, blobs = sp.synthetic(labels.numpy(), K, 12, 0)
    points = np.concatenate([points, points[:5]])
    blobs = np.concatenate([blobs, blobs[:5]])
    grid = points.reshape(-1, 2, 2, 3).repeat(SIDE // 2, 1).repeat(SIDE // 2, 2)
    norm = np.linalg.norm(grid.reshape(len(grid), -1), axis=1)[:, None, None, None]
    grid = grid / norm * np.float32(EIGHT * np.sqrt(3 * SIDE * SIDE))
    np.save(tmp_path / "simple_data.npy", grid)
    np.save(tmp_path / "simple_label.npy", blobs)
    clean_float = images.permute(0, 2, 3, 1).numpy() / 255.0
    for label in range(K):
        mine = labels.numpy() == label
        clean_float[mine] += grid[blobs == label][: mine.sum()]
    want = np.clip(clean_float * 255, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    found, notes = bring(
        tmp_path / "simple_data.npy", clean, labels=tmp_path / "simple_label.npy", epsilon=EIGHT
    )
    assert (found.pixels.numpy() == want).all() and "read as SP noise" in notes
    with pytest.raises(DataError, match="2/255 more than the epsilon 6/255"):
        load_foreign(
            tmp_path / "simple_data.npy", clean,
            options=Options(labels=tmp_path / "simple_label.npy", epsilon=6 / 255),
        )  # fmt: skip
    with pytest.raises(RecipeError, match="pass its labels, --labels FILE"):
        load_foreign(tmp_path / "simple_data.npy", clean, layout="sp")
    with pytest.raises(RecipeError, match="cannot tell what"):
        load_foreign(tmp_path / "simple_data.npy", clean)
    with pytest.raises(DataError, match=r"has 29 noises, expected 24 \(one an image\)"):
        load_foreign(tmp_path / "simple_data.npy", clean, layout="ops")
    np.save(tmp_path / "simple_data.npy", grid[:N])
    with pytest.raises(DataError, match="changes up to 256 pixels of an image, expected 1"):
        load_foreign(tmp_path / "simple_data.npy", clean, layout="ops")


def test_sp_needs_a_noise_for_every_image_and_fitting_labels(clean, tmp_path):
    path, labels = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(path, noise(N, SIDE, SIDE, 3).numpy())
    for value, message in (
        (np.zeros(N, int), "has 0 noises for class 1, expected 8"),
        (np.full(N, 3), "labels run from 3 to 3, but the clean set has 3 classes"),
        (np.full(N, -1), "labels run from -1 to -1"),
        (np.zeros(N - 1, int), "has 24 rows, but .* has 23 labels"),
        (np.full(N, 0.5), "expected whole numbers"),
        (np.full(N, np.nan), "expected whole numbers"),
        (np.ones((N, 3)), "expected one of 3 a row"),
        (np.eye(4)[np.zeros(N, int)], "expected one of 3 a row"),
        (np.array(["a"] * N), "expected plain numbers"),
        (np.full(N, 1j), "expected whole numbers"),
        (np.full(N, 1e300), "labels run from"),
        (np.full(N, 2**64 - 1, np.uint64), "labels run from 18446744073709551615"),
        (np.zeros((N, 1, 1)), "expected whole numbers"),
        (np.array(0), "has 24 rows, but .* has no labels"),
    ):
        np.save(labels, value)
        with pytest.raises(DataError, match=message):
            load_foreign(path, clean, layout="sp", options=Options(labels=labels))
    labels.write_bytes(b"text")
    with pytest.raises(DataError, match="unknown kind of file"):
        load_foreign(path, clean, layout="sp", options=Options(labels=labels))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ops_as_its_authors_add_it(clean, tmp_path, kind):
    """The images may be float32, the differences are float64 all the same."""
    images, labels = ordered(clean)
    x = images.permute(0, 2, 3, 1).numpy().astype(kind) / kind(255)
    added = np.zeros(x.shape)
    for label, (row, column, colour) in enumerate(
        [(0, 3, (0, 0, 0)), (5, 5, 1), (2, 9, (0, 1, 1))]
    ):
        mine = labels.numpy() == label
        added[mine, row, column] = np.array(colour) - x[mine, row, column].astype(np.float64)
    np.save(tmp_path / "perturbation.npy", added)
    want = np.uint8(np.clip(x + added, 0, 1) * 255).transpose(0, 3, 1, 2)
    found, notes = bring(tmp_path / "perturbation.npy", clean)
    assert (found.pixels.numpy() == want).all() and "read as OPS noise" in notes
    assert found.header["statistics"]["l0_max"] == 1
    assert comparison.compare(found, clean).class_wise


@pytest.mark.parametrize("one_hot", [True, False])
def test_ntga_in_its_own_order(clean, tmp_path, one_hot):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:20]
    x = clean.pixels[order].permute(0, 2, 3, 1).numpy().astype(np.float32) / 255
    x = np.clip(x + noise(*x.shape).numpy(), 0, 1)
    labels = clean.labels[order].numpy()
    np.save(tmp_path / "x_train.npy", x)
    np.save(tmp_path / "y_train.npy", np.eye(K)[labels] if one_hot else labels)
    found, notes = load_foreign(
        tmp_path / "x_train.npy", clean, options=Options(labels=tmp_path / "y_train.npy")
    )
    assert len(found) == 20 and found.header["method"] == "x_train" and "NTGA" in notes[0]
    rows = order.sort()
    want = (x[rows.indices] * 255 + 1e-5).astype(np.uint8).transpose(0, 3, 1, 2)
    assert (found.pixels.numpy() == want).all()
    for name in ("index", "labels"):
        assert torch.equal(getattr(found, name), getattr(clean, name)[rows.values])
    assert comparison.compare(found, clean).aligned
    for message, options in (
        ("20 of 20 images are farther than 4/255 from every clean image", {"epsilon": 4 / 255}),
        ("expected uint8, or floating point in \\[0,1\\]", {}),
    ):
        if not options:
            np.save(tmp_path / "x_train.npy", x - 0.5)
        with pytest.raises(DataError, match=message):
            load_foreign(
                tmp_path / "x_train.npy", clean, layout="ntga",
                options=Options(labels=tmp_path / "y_train.npy", **options),
            )  # fmt: skip


# Poisoned images


def pngs(folder: Path, images: Tensor, names) -> Path:
    folder.mkdir(parents=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("inner", ["", "data"])
def test_png_folder(clean, tmp_path, inner):
    images, labels = ordered(poison(clean, SP()))
    pngs(tmp_path / "tap" / inner, images, range(N))
    (tmp_path / "tap" / inner / "notes.txt").write_text("other files are let be")
    found, notes = bring(tmp_path / "tap", clean)
    assert torch.equal(found.pixels, images) and torch.equal(found.labels, labels)
    assert "24 files" in notes and found.header["method"] == "tap"
    assert found.header["recipe"]["imported"] == "png"


def test_png_folder_that_does_not_fit(clean, photos, tmp_path):
    images, _ = ordered(poison(clean, SP()))
    root = pngs(tmp_path / "a", images, range(N))
    for name in (3, 5, 7, 11, 13, 17):
        (root / f"{name}.png").rename(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"6 of 24 indices are missing \(3, 5, 7, 11, 13, \.\.\.\)"):
        load_foreign(root, clean)
    for name in (3, 5, 7, 11, 13, 17):
        (tmp_path / f"{name}.png").rename(root / f"{name}.png")
    (root / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3.png: unreadable image"):
        load_foreign(root, clean)
    Image.new("RGB", (8, 8)).save(root / "3.png")
    with pytest.raises(DataError, match=r"3.png is for 8x8 images, the clean ones are 16x16"):
        load_foreign(root, clean)
    Image.new("RGB", (8, 8)).save(root / "003.png")
    with pytest.raises(DataError, match="the same index as"):
        load_foreign(root, clean)
    more = pngs(tmp_path / "b", torch.cat([images, images[:1]]), range(N + 1))
    with pytest.raises(DataError, match="found 25 images, the clean set has 24"):
        load_foreign(more, clean)


def test_images_in_another_order_are_refused(clean, tmp_path):
    images, labels = ordered(poison(clean, SP()))
    same_class = labels.argsort(stable=True).view(K, -1).roll(1, 1).flatten()
    moved = torch.empty_like(images)
    moved[labels.argsort(stable=True)] = images[same_class]
    with pytest.raises(DataError, match="only 0% of the images are nearest to their own clean im"):
        load_foreign(pngs(tmp_path / "a", moved, range(N)), clean)
    nhwc = images.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "x.npz", data=nhwc[::-1], targets=labels.numpy()[::-1])
    with pytest.raises(DataError, match="labels differ from the clean set's in 16 of 24 images"):
        load_foreign(tmp_path / "x.npz", clean)


def test_npz(clean, tmp_path):
    images, labels = ordered(poison(clean, SP(), poison_rate=0.5))
    nhwc = images.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(tmp_path / "x.npz", data=nhwc, targets=labels.numpy())
    found, notes = bring(tmp_path / "x.npz", clean, epsilon=30 / 255)
    assert torch.equal(found.pixels, images) and "uint8 [24, 3, 16, 16]" in notes
    assert int(found.poisoned.sum()) == N // 2 == found.header["statistics"]["n"]
    with pytest.raises(DataError, match=r"the difference is up to .* more than the epsilon 4/255"):
        bring(tmp_path / "x.npz", clean, epsilon=4 / 255)
    for arrays, message in (
        ({"data": nhwc, "x": nhwc}, "has data, x but no targets, expected"),
        ({"x": nhwc, "y": nhwc}, "has x, y but no data and no targets"),
        ({"data": nhwc / 255, "targets": labels}, "data is float64, expected uint8"),
        ({"data": nhwc[:9], "targets": labels[:9]}, "has 9 images and 9 labels, the clean set"),
        ({"data": nhwc, "targets": labels[:9]}, "has 24 images and 9 labels"),
        ({"data": nhwc, "targets": labels + 9}, "labels run from 9 to 11, but"),
        ({"data": nhwc[:, :9], "targets": labels}, "data is for 16x9 images"),
        ({"data": nhwc[..., :1], "targets": labels}, "expected .* with 3 channels"),
    ):
        np.savez(tmp_path / "y.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load_foreign(tmp_path / "y.npz", clean)


def test_pil_dict(clean, tmp_path):
    images, labels = ordered(clean)
    added = (images / 255 + noise(*images.shape)).clamp(0, 1)
    torch.save({"data": added, "labels": labels}, tmp_path / "unlearnable.pt")
    found, notes = bring(tmp_path / "unlearnable.pt", clean, epsilon=EIGHT)
    assert torch.equal(found.pixels, (added * 255).byte()) and "PIL's images" in notes
    torch.save({"data": found.pixels, "labels": labels}, tmp_path / "u.pt")
    assert torch.equal(bring(tmp_path / "u.pt", clean)[0].pixels, found.pixels)
    torch.save({"data": added}, tmp_path / "u.pt")
    with pytest.raises(DataError, match="data but no labels"):
        load_foreign(tmp_path / "u.pt", clean)


# What does not fit


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((N + 1, 3, SIDE, SIDE), r"has 25 noises, expected 24 \(one an image\) or 3 \(one a class"),
        ((10, 3, SIDE, SIDE), "has 10 noises"),
        ((2, 4, 3, SIDE, SIDE), "has 4 noises, expected"),
        ((N, 3, 256, 256), "is for 256x256 images, the clean ones are 16x16; noise is never res"),
        ((N, 3, SIDE, 8), "is for 8x16 images"),
        ((N, 1, SIDE, SIDE), r"expected \[N,3,H,W\] with 3 channels"),
        ((3, SIDE, SIDE), "expected"), ((), "expected"), ((0, 3, SIDE, SIDE), "is empty"),
        ((0, 3, 3, SIDE, SIDE), "is empty"), ((2, 3, 0, SIDE, SIDE), "channels"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(clean, tmp_path, shape, message):
    torch.save(torch.zeros(shape), tmp_path / "x.pt")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(np.zeros(shape, np.int8)))
    with pytest.raises(DataError, match=message):
        load_foreign(tmp_path / "x.pt", clean)
    if len(shape) == 4:
        with pytest.raises(DataError, match=message):
            load_foreign(tmp_path / "x.pkl", clean)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_anywhere(clean, tmp_path, bad):
    added = noise(N, 3, SIDE, SIDE)
    added[17, 2, 3, 4] = bad
    torch.save(added, tmp_path / "x.pt")
    np.save(tmp_path / "x.npy", added.permute(0, 2, 3, 1).numpy())
    for path, layout in (("x.pt", "em"), ("x.npy", "ops"), ("x.npy", "auto")):
        with pytest.raises(DataError, match="holds NaN or infinity, first in row 17 of 24"):
            load_foreign(tmp_path / path, clean, layout=layout)


def test_noise_that_is_too_large(clean, tmp_path):
    torch.save(noise(N, 3, SIDE, SIDE).sign() * 16 / 255, tmp_path / "x.pt")
    with pytest.raises(DataError, match="is up to 16/255, 8/255 more than the epsilon 8/255"):
        load_foreign(tmp_path / "x.pt", clean, options=Options(epsilon=EIGHT))
    torch.save(noise(N, 3, SIDE, SIDE, bound=8.0), tmp_path / "x.pt")
    with pytest.raises(DataError, match="more than the 51/255 that is plausible in"):
        load_foreign(tmp_path / "x.pt", clean)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(np.full((N, 3, SIDE, SIDE), -100, np.int8)))
    with pytest.raises(DataError, match="up to 100/255, 49/255 more than"):
        load_foreign(tmp_path / "x.pkl", clean)
    load_foreign(tmp_path / "x.pkl", clean, options=Options(epsilon=100 / 255))


def test_types_that_do_not_fit(clean, tmp_path):
    torch.save(torch.ones(N, 3, SIDE, SIDE, dtype=torch.int64), tmp_path / "x.pt")
    with pytest.raises(DataError, match="is int64, expected floating point"):
        load_foreign(tmp_path / "x.pt", clean)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(np.zeros((N, 3, SIDE, SIDE), np.float32)))
    with pytest.raises(DataError, match="is float32, expected int8 grey levels"):
        load_foreign(tmp_path / "x.pkl", clean)
    torch.save(torch.zeros(2, 3).to_sparse(), tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"holds torch._utils._rebuild_sparse_tensor, expected"):
        load_foreign(tmp_path / "x.pt", clean)


def test_half_precision_is_read(clean, tmp_path):
    images, _ = ordered(clean)
    levels = torch.randint(-8, 9, images.shape)
    torch.save((levels / 255).bfloat16(), tmp_path / "b.pt")
    torch.save((levels / 255).half(), tmp_path / "h.pt")
    for name in ("b.pt", "h.pt"):
        found, _ = bring(tmp_path / name, clean, rounding="nearest", epsilon=8.1 / 255)
        assert torch.equal(found.pixels.short(), (images + levels).clamp(0, 255).short())


def test_files_that_are_something_else(clean, tmp_path):
    clean.save(tmp_path / "clean.safetensors")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    torch.save(noise(N, 3, SIDE, SIDE), tmp_path / "whole.pt")
    (tmp_path / "cut2.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:9000])
    np.save(tmp_path / "whole.npy", noise(N, SIDE, SIDE, 3).numpy())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:9000])
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("clean.safetensors", "found a dataset of stkit's own"),
        ("text.pt", "unknown kind of file"), ("cut.pt", "unreadable"), ("cut2.pt", "unreadable"),
        ("cut.npy", "unreadable"), ("other.npz", "unknown kind"), ("empty", "found no .png file"),
        ("missing.pt", "no such file; check the path of the file or folder"),
    ):  # fmt: skip
        with pytest.raises((ArtifactError, DataError), match=message):
            load_foreign(tmp_path / name, clean)
    with pytest.raises(DataError, match="found a torch file, expected REM or SEM noise"):
        load_foreign(tmp_path / "whole.pt", clean, layout="rem")
    with pytest.raises(DataError, match="found a poisoned data set, expected the clean one"):
        load_foreign(tmp_path / "whole.pt", poison(clean, SP()))
    with pytest.raises(RecipeError, match="option labels does not belong to EM, TUE or AUE noise"):
        load_foreign(tmp_path / "whole.pt", clean, options=Options(labels=tmp_path / "y.npy"))


def test_options_are_checked():
    for options, message in (
        ({"epsilon": 0.0}, "epsilon is 0"), ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"rounding": "loadr"}, "did you mean 'loader'"),
        ({"sign": "postive"}, "did you mean 'positive'"),
        ({"rounding": "up"}, "unknown rounding"),
        ({"scope": "x"}, "unknown scope"), ({"seed": -1}, "seed is -1"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            Options(**options)


def test_nothing_to_see_is_said(clean, tmp_path):
    torch.save(torch.zeros(K, 3, SIDE, SIDE), tmp_path / "x.pt")
    found, notes = bring(tmp_path / "x.pt", clean)
    assert "no image differs from its clean one" in notes and not found.poisoned.any()
    assert torch.equal(found.pixels, ordered(clean)[0])


# The command


def test_import_command(cli, photos, tmp_path):
    torch.save(noise(K, 3, SIDE, SIDE), tmp_path / "p.pt")
    out = tmp_path / "new" / "em.safetensors"
    line = ("import", tmp_path / "p.pt", "--clean", photos, "--epsilon", "8/255", "-o", out)
    found = cli(*line, "--json")
    assert found.json == found.json | {
        "output": str(out), "method": "p", "layout": "em", "n": N,
        "content": "float32 [3, 3, 16, 16], class-wise",
    }  # fmt: skip
    assert "read as EM, TUE or AUE noise, a .pt tensor: float32 [3, 3, 16, 16]" in found.err
    assert "the poison is called 'p'" in found.err
    looked = cli("inspect", out, "--clean", photos, "--json").json
    assert looked["class_wise"] and looked["aligned"] and looked["method"] == "p"
    assert looked["linf"] == found.json["linf"] == pytest.approx(EIGHT)
    assert cli(*line).code == 1 and "exists already" in cli(*line).err
    again = cli(*line, "--force", "-q")
    assert (again.out, again.err) == (f"{out}\n", "")
    assert images.read(out).names[0].split("/")[0] in CLASSES


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ("--epsilon 4/255", 1, "error: .*: the noise is up to .* more than the epsilon 4/255"),
        ("--epsilon 0", 2, "error: epsilon is 0, which makes no noise"),
        ("--format rem", 1, "error: .*: found a torch file, expected REM or SEM noise"),
        ("--format emm", 2, "error: unknown format 'emm'; did you mean 'em'"),
        ("--sign neg", 2, "error: unknown sign"),
        ("--split test", 1, "error: .*: has 24 noises, expected 12"),
        ("--labels y.npy", 2, "error: option labels does not belong to"),
    ],
)
def test_import_that_fails_is_one_line_and_leaves_nothing(
    cli, photos, tmp_path, more, code, message
):
    torch.save(noise(N, 3, SIDE, SIDE), tmp_path / "p.pt")
    before = snapshot(tmp_path)
    out = tmp_path / "out.safetensors"
    found = cli("import", tmp_path / "p.pt", "--clean", photos, "-o", out, *more.split())
    assert found.code == code and found.out == ""
    assert re.fullmatch(message + ".*\n", found.err), found.err
    assert snapshot(tmp_path) == before


def test_an_import_that_cannot_be_written_leaves_nothing(clean, tmp_path, monkeypatch):
    torch.save(noise(K, 3, SIDE, SIDE), tmp_path / "p.pt")
    found, _ = load_foreign(tmp_path / "p.pt", clean)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError):
        found.save(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt"]


def test_a_layout_is_a_module_with_a_place_of_its_own():
    """The command's help is made of them, so they bring neither torch nor NumPy."""
    assert len({layout.place for layout in LAYOUTS.values()}) == len(LAYOUTS)
    home = Path(layouts.__path__[0])
    assert {path.stem for path in home.glob("*.py")} == {"__init__", *LAYOUTS}
    code = (
        f"import sys, {layouts.__name__}; sys.exit(bool({{'torch', 'numpy'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
