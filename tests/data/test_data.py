"""Sources and dataset files: the same pixels, labels, order and names, whatever way they took."""

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASSES, picture
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stkit.core import artifact
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data.exporting import trees
from stkit.data.exporting.export import export
from stkit.data.images import Images, read, to_float, to_uint8
from stkit.data.load import load
from stkit.data.pictures import read_image
from stkit.data.sampling import balanced


def pixels(path: Path) -> torch.Tensor:
    """What is stored in an 8-bit RGB image file, uint8 [3,H,W]."""
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_the_two_converters_are_inverse():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert to_float(levels).min() == 0 and to_float(levels).max() == 1
    assert to_uint8(torch.tensor([-0.1, 1.2, 0.4999 / 255, 0.5001 / 255])).tolist() == [
        0,
        255,
        0,
        1,
    ]


# digits, cifar10


def test_digits_are_split_once_and_stratified():
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    both = torch.cat([train.index, test.index])
    assert torch.equal(both.sort().values, torch.arange(1797))
    target = torch.from_numpy(load_digits().target)
    assert torch.equal(torch.cat([train.labels, test.labels]), target[both])
    theirs = train_test_split(torch.arange(1797), test_size=0.2, stratify=target, random_state=0)
    assert torch.equal(test.index, theirs[1].sort().values)
    share = test.labels.bincount() / target.bincount()
    assert ((share - 0.2).abs() < 0.01).all()
    for found in (train, test):
        assert torch.equal(found.index, found.index.sort().values)  # scikit-learn's order
        assert found.pixels.shape[1:] == (3, 32, 32) and found.names is None
        assert torch.equal(found.pixels[:, 0], found.pixels[:, 2])
    assert torch.equal(load("digits").pixels, train.pixels)


def test_digits_are_the_ones_of_scikit_learn():
    found = load("digits", "test", size=8)
    want = np.rint(load_digits().images[found.index.numpy()] * 255 / 16)
    assert torch.equal(found.pixels[:, 1].double(), torch.from_numpy(want))


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10_keeps_torchvision_s_order(split, tmp_path, monkeypatch):
    """Also on files whose pickles warn, as the real ones do under some versions of NumPy."""
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    class Loud:
        def __reduce__(self):
            return warnings.warn, ("dtype(): align should be passed as a boolean",)

    batches = {}
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        data, labels = rng.integers(0, 256, (4, 3072), np.uint8), rng.integers(0, 10, 4).tolist()
        batches[name] = data, labels
        old = {"data": data, "labels": labels, "warning": Loud()}
        (folder / name).write_bytes(pickle.dumps(old))
    names = [f"class {i}" for i in range(10)]
    (folder / CIFAR10.meta["filename"]).write_bytes(pickle.dumps({CIFAR10.meta["key"]: names}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)

    listed = CIFAR10.train_list if split == "train" else CIFAR10.test_list
    data = np.concatenate([batches[name][0] for name, _ in listed])
    labels = [label for name, _ in listed for label in batches[name][1]]
    found = load("cifar10", split, data_root=tmp_path)
    assert torch.equal(found.pixels, torch.from_numpy(data).view(-1, 3, 32, 32))
    assert (found.labels.tolist(), found.classes) == (labels, tuple(names))
    assert found.index.tolist() == list(range(len(labels)))
    monkeypatch.setenv("STKIT_DATA", str(tmp_path))
    few = load("cifar10", split, limit=10, size=8)
    assert torch.equal(few.labels, found.labels[few.index])
    assert few.pixels.shape == (min(10, len(labels)), 3, 8, 8)


# Folders


LAYOUTS = {
    "classes at once": (["a/1", "a/2", "b/1"], {"train": "aab", "test": "aab"}),
    "train and test": (["train/a/1", "train/b/1", "test/a/1"], {"train": "ab", "test": "a"}),
    "train and val": (["train/a/1", "val/a/1", "val/b/1"], {"train": "a", "test": "ab"}),
    "test before val": (["train/a/1", "test/b/1", "val/c/1"], {"train": "a", "test": "b"}),
    "only train": (["train/a/1", "train/b/1"], {"train": "ab", "test": None}),
    "a class called train": (["train/1", "b/1"], {"train": ["b", "train"]}),
    "a stray image among the splits": (
        ["train/a/1", "train/0", "test/b/1"],
        {"train": "a", "test": "b"},
    ),
    "one class, called train": (["train/1"], {"train": ["train"], "test": ["train"]}),
    "classes called train and test": (["train/1", "test/1"], {"train": ["test", "train"]}),
    "train in train": (["train/train/1", "test/train/1"], {"train": ["train"], "test": ["train"]}),
    "a test class in train": (["train/test/1", "train/b/1"], {"train": ["b", "test"]}),
    "hidden things": (["a/1", "a/.2", ".git/1"], {"train": "a", "test": "a"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_folder_level_decides_what_a_class_is(layout, tmp_path):
    paths, wanted = LAYOUTS[layout]
    for seed, path in enumerate(paths):
        picture(tmp_path / f"{path}.png", seed)
    for split, classes in wanted.items():
        if classes is None:
            with pytest.raises(DataError, match="has train/ but no test/"):
                load(tmp_path, split)
            continue
        found = load(tmp_path, split)
        assert found.classes == tuple(sorted(set(classes)))
        assert sorted(found.classes[i] for i in found.labels.tolist()) == sorted(classes)


def test_other_files_are_passed_over_and_endings_of_any_case_are_read(tmp_path):
    picture(tmp_path / "a" / "1.PNG")
    picture(tmp_path / "a" / "2.JpEg")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "a" / "more").mkdir()
    (tmp_path / "README.md").write_text("about")
    assert sorted(load(tmp_path).names) == ["a/1.PNG", "a/2.JpEg"]


def test_a_folder_is_shuffled_once_and_index_leads_back(photos):
    found, again = load(photos), load(photos)
    listing = [
        f"{c}/{path.name}" for c in CLASSES for path in sorted((photos / "train" / c).iterdir())
    ]
    assert found.names == again.names and torch.equal(found.pixels, again.pixels)
    assert found.names == tuple(listing[i] for i in found.index.tolist())
    assert sorted(found.index.tolist()) == list(range(24)) != found.index.tolist()
    assert len(found.labels[:8].unique()) > 1  # no class is walked alone
    for name, label, image in zip(found.names, found.labels.tolist(), found.pixels, strict=True):
        assert torch.equal(image, pixels(photos / "train" / name))
        assert name.startswith(f"{CLASSES[label]}/")


def test_progress_reaches_the_whole(photos):
    seen = []
    load(photos, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)


def palette(path: Path, **how) -> np.ndarray:
    """Write a picture with four colours, two wide stripes each; returns it as RGB."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30], [200, 100, 50]], np.uint8)
    index = np.arange(4, dtype=np.uint8).repeat(2)[None].repeat(6, 0)
    image = Image.fromarray(index).convert("P")
    image.putpalette(colours.tobytes())
    image.putdata(index.flatten().tolist())
    image.save(path, **how)
    return colours[index]


def test_palettes_become_rgb(tmp_path):
    assert (palette(tmp_path / "a.png") == read_image(tmp_path / "a.png")).all()
    assert (palette(tmp_path / "b.gif") == read_image(tmp_path / "b.gif")).all()
    for name, transparency in (("c.png", 1), ("d.png", b"\xff\x80\x00\xff")):  # an index, or alphas
        want = palette(tmp_path / name, transparency=transparency)
        assert (want == read_image(tmp_path / name)).all()


def test_grey_alpha_and_deep_images_become_rgb(tmp_path):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    colour = rng.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    deep = rng.integers(0, 1 << 16, (6, 8), dtype=np.uint16)

    def reads(image: Image.Image, want: np.ndarray, ending: str = "png") -> None:
        image.save(tmp_path / f"x.{ending}")
        found = read_image(tmp_path / f"x.{ending}")
        assert found.dtype == np.uint8 and (found == want).all(), (image.mode, ending)

    threefold = grey[..., None].repeat(3, 2)
    reads(Image.fromarray(grey), threefold)
    reads(Image.fromarray(np.dstack([grey, colour[..., 3]])), threefold)  # LA
    reads(Image.fromarray(colour), colour[..., :3])  # RGBA: what is under the alpha
    reads(Image.fromarray(grey > 99), ((grey > 99) * np.uint8(255))[..., None].repeat(3, 2))
    for ending in ("png", "tiff"):
        reads(Image.fromarray(deep), (deep >> 8).astype(np.uint8)[..., None].repeat(3, 2), ending)
    reads(Image.fromarray(colour[..., :3]).convert("CMYK"), colour[..., :3], "tiff")


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photo_taken_sideways_is_turned_upright(ending, orientation, turns, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"lossless": True} if ending == "webp" else {}
    plain = picture(tmp_path / f"plain.{ending}", size=(8, 6), **how)
    turned = picture(tmp_path / f"turned.{ending}", size=(8, 6), exif=exif, **how)
    assert (read_image(turned) == np.rot90(read_image(plain), turns)).all()


def test_mixed_sizes_need_a_size(tmp_path):
    for i, size in enumerate([(20, 12), (12, 20), (16, 16), (7, 9)]):
        picture(tmp_path / "a" / f"{i}.png", i, size=size)
    with pytest.raises(DataError, match=r"is \d+x\d+, but .* one size is expected"):
        load(tmp_path)
    assert load(tmp_path, size=10).pixels.shape == (4, 3, 10, 10)


def test_size_takes_the_centre_of_the_short_side(tmp_path):
    stripes = np.zeros((16, 48, 3), np.uint8)
    stripes[:, :16], stripes[:, 16:32], stripes[:, 32:] = 50, 100, 150
    for name, array in (("wide", stripes), ("tall", stripes.transpose(1, 0, 2))):
        path = tmp_path / f"{name}.png"
        Image.fromarray(array).save(path)
        assert (read_image(path, 16) == 100).all()
        half = read_image(path, 8)
        assert half.shape == (8, 8, 3) and (half[2:6, 2:6] == 100).all()
    checks = (np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "checks.png")
    grey = read_image(tmp_path / "checks.png", 8)
    assert ((grey > 100) & (grey < 155)).all()  # antialiased: each pixel is a mean of both
    assert read_image(tmp_path / "checks.png", 16)[..., 0].tolist() == checks.tolist()


# limit


def test_limit_takes_the_first_of_every_class(photos):
    whole = load(photos)
    for limit, counts in ((6, [2, 2, 2]), (7, [3, 2, 2]), (99, [8, 8, 8])):
        found = load(photos, limit=limit)
        assert found.labels.bincount().tolist() == counts
        rows = [
            row for label, count in enumerate(counts)
            for row in (whole.labels == label).nonzero().flatten()[:count].tolist()
        ]  # fmt: skip
        assert found.names == tuple(whole.names[row] for row in sorted(rows))
        assert torch.equal(found.pixels, whole.pixels[sorted(rows)])


def test_where_a_class_is_short_the_others_fill_up():
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])
    assert balanced(labels, 6).tolist() == [0, 1, 2, 4, 5, 6]
    assert balanced(labels, 99).tolist() == list(range(8))


@pytest.mark.parametrize("given", [{"limit": 0}, {"limit": 2}, {"size": 0}, {"split": "val"}])
def test_a_size_limit_or_split_that_cannot_be(given, photos):
    with pytest.raises(RecipeError):
        load(photos, **given)


# Files


def same(a: Images, b: Images) -> bool:
    return a.names == b.names and all(
        torch.equal(value, b.tensors()[key]) for key, value in a.tensors().items()
    )


@pytest.mark.parametrize("source", ["digits", "photos"])
def test_a_file_gives_back_what_it_was_made_from(source, photos, tmp_path):
    images = load(photos if source == "photos" else "digits", "test", limit=12)
    head = images.save(tmp_path / "f")
    found = read(tmp_path / "f", "test")
    assert same(found, images) and found.poisoned is None
    assert found.header == head and found.classes == images.classes
    assert found.provenance["digest"] == images.provenance["digest"] == head["digest"]
    assert same(load(tmp_path / "f"), images)  # whichever split it holds


def test_a_file_can_be_narrowed_and_says_of_what(made):
    whole = load(made / "ops.safetensors")
    few = load(made / "ops.safetensors", limit=6, size=8)
    rows = balanced(whole.labels, 6)
    assert few.names == tuple(whole.names[i] for i in rows.tolist())
    assert torch.equal(few.index, whole.index[rows]) and few.pixels.shape == (6, 3, 8, 8)
    assert torch.equal(few.poisoned, whole.poisoned[rows])
    assert few.header["inputs"][0]["digest"] == whole.header["digest"]
    assert few.header["recipe"] == {"source": "file", "limit": 6, "size": 8}


def test_a_truncated_or_foreign_file(made, tmp_path):
    path = tmp_path / "f.safetensors"
    for size in (0, 4, 9, 500, -1):
        path.write_bytes((made / "clean.safetensors").read_bytes()[:size])
        with pytest.raises(ArtifactError, match=r"f.safetensors: (it is trunc|its header is not)"):
            load(path)
    save_file({"images": torch.zeros(2, 3, 4, 4)}, path)
    with pytest.raises(ArtifactError, match="not written by stkit"):
        load(path)
    path.unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        load(path)


@pytest.mark.parametrize("label", [-1, 3, 1 << 40])
def test_labels_out_of_range(label, made, tmp_path):
    images = load(made / "clean.safetensors")
    labels = images.labels.clone()
    labels[5] = label
    artifact.write(tmp_path / "f", images.tensors() | {"labels": labels}, images.header)
    with pytest.raises(
        DataError, match=f"labels run from .*{label}.*, expected 0 to 2 for 3 class"
    ):
        load(tmp_path / "f")


def test_any_file_name_survives(tmp_path):
    names = ["ä b.png", "日本.png", "new\nline.png"]
    for i, name in enumerate(names):
        picture(tmp_path / "in" / "ü" / name, i)
    try:
        raw = Path(os.fsdecode(b"\xff\xfe.png"))
        picture(tmp_path / "in" / "ü" / "x.png", 3).rename(tmp_path / "in" / "ü" / raw)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    images = load(tmp_path / "in")
    images.save(tmp_path / "f")
    found = read(tmp_path / "f")
    assert sorted(found.names) == sorted([*(f"ü/{name}" for name in names), f"ü/{raw}"])
    export(found, tmp_path / "out", format="folder")
    assert sorted(os.listdir(tmp_path / "out" / "ü")) == sorted([*names, str(raw)])


def test_a_class_name_that_no_header_can_hold(tmp_path):
    try:
        picture(tmp_path / os.fsdecode(b"\xff") / "1.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(DataError, match="not UTF-8"):
        load(tmp_path)


# Export


def test_export_gives_the_same_tree_with_identical_pixels(photos, tmp_path):
    seen = []
    images = load(photos)
    out = tmp_path / "deep" / "out"
    export(images, out, format="folder", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    wanted = {path.relative_to(photos / "train") for path in photos.glob("train/*/*")}
    found = {path.relative_to(out) for path in out.rglob("*.*")}
    assert found == {path.with_suffix(".png") for path in wanted}
    for path in wanted:
        assert torch.equal(pixels(out / path.with_suffix(".png")), pixels(photos / "train" / path))
    again = load(out)
    assert torch.equal(again.pixels, images.pixels) and torch.equal(again.index, images.index)


def test_export_fills_an_empty_folder_and_no_other(photos, tmp_path):
    images = load(photos, limit=3)
    export(images, tmp_path, format="folder")
    assert {path.name for path in tmp_path.iterdir()} == set(CLASSES)
    with pytest.raises(ArtifactError, match="exists already"):
        export(images, tmp_path, format="folder")


def test_export_without_names_uses_the_source_s_positions(tmp_path):
    images = load("digits", "test", limit=20)
    export(images, tmp_path / "out", format="folder")
    for label, index, image in zip(images.labels, images.index, images.pixels, strict=True):
        wide = len(str(int(images.index.max())))
        assert torch.equal(pixels(tmp_path / "out" / f"{label}" / f"{index:0{wide}}.png"), image)


def test_names_that_would_collide_as_png_stay_apart(tmp_path):
    names = ["a.bmp", "a.png", "a.PNG", "a.bmp.png", "a.tiff", "b.bmp", "c.x.bmp"]
    for i, name in enumerate(names):
        picture(tmp_path / "in" / "k" / name, i)
    images = load(tmp_path / "in")
    export(images, tmp_path / "out", format="folder")
    given = dict(zip(images.names, trees.file_names(images), strict=True))
    assert given == {
        "k/a.png": "k/a.png", "k/a.PNG": "k/a.PNG", "k/a.bmp.png": "k/a.bmp.png",
        "k/a.bmp": "k/a.bmp.png.png", "k/a.tiff": "k/a.tiff.png", "k/b.bmp": "k/b.png",
        "k/c.x.bmp": "k/c.x.png",
    }  # fmt: skip
    for name, path in given.items():
        assert torch.equal(pixels(tmp_path / "out" / path), pixels(tmp_path / "in" / name))


def test_an_export_left_half_done_is_not_mixed_with(photos, tmp_path):
    """A killed writer's folder is no longer locked: the next one removes it."""
    (tmp_path / "out.0a1b2c3d.tmp" / "half").mkdir(parents=True)
    export(load(photos, limit=3), tmp_path / "out", format="folder")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_are_disjoint_balanced_and_whole(cli, tmp_path):
    """Held-out images are a clean test split; together the parts are the set."""
    for part in ("rest", "held"):
        found = cli("data", "digits", "--limit", 100, "--holdout", 30, "--part", part,
                    "-o", tmp_path / part, "--json").json  # fmt: skip
        assert found["split"] == ("train" if part == "rest" else "test")
    rest, held = (load(tmp_path / part) for part in ("rest", "held"))
    whole = load("digits", limit=100)
    assert sorted([*rest.index.tolist(), *held.index.tolist()]) == sorted(whole.index.tolist())
    assert held.labels.bincount().tolist() == [3] * 10
    assert held.header["inputs"][0]["digest"] == whole.provenance["digest"]


def test_a_part_needs_a_number_that_leaves_something(cli, tmp_path):
    for options, message in (
        (("--part", "held"), "part is given without --holdout"),
        (("--holdout", 100), "holdout is 100, expected a number from 1 to 99"),
        (("--holdout", 5, "--part", "tests"), "unknown part 'tests'"),
    ):
        found = cli("data", "digits", "--limit", 100, *options, "-o", tmp_path / "x")
        assert found.code == 2 and message in found.err, found
    assert not (tmp_path / "x").exists()
