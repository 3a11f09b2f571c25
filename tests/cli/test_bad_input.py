"""Bad input: one clear line on stderr, the right exit code, and every file as it was.

Each test runs in a folder of its own that holds good files beside the bad one; `refused` compares
the whole folder before and after, so that a changed, half-written or left-over file fails it.
"""

import os
import re
import shlex
import shutil
import signal

import pytest
import torch
from conftest import SIDE, picture, snapshot
from PIL import Image, ImageFile
from safetensors.torch import save_file

from stkit import load
from stkit.core import artifact
from stkit.engine.step import SGD

NT = "--frame nt --model small --batch-size 8 --epochs 1 --device cpu"
ST = "--frame st --model small --batch-size 8 --epochs 3 --device cpu"
CPU = "--device cpu"
INIT = "--init-from nt.safetensors"


@pytest.fixture
def work(made, photos, tmp_path, monkeypatch):
    """The working folder: clean, ops and nt.safetensors, and photos/ with train/ and test/."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(cli, work):
    """`refused(line, pattern, code)`: the command fails with this one line and changes nothing."""

    def run(line: str, pattern: str, code: int = 1) -> str:
        before = snapshot(work)
        found = cli(*shlex.split(line))
        assert found.code == code, found
        assert found.out == ""
        assert re.fullmatch(r"error: [^\n]+\n", found.err), found.err
        assert re.search(pattern, found.err), found.err
        assert snapshot(work) == before
        return found.err

    return run


# Wrong usage: exit 2


UNKNOWN = [
    ("trian clean.safetensors -o x", "unknown command 'trian'; did you mean 'train'"),
    ("poison opps clean.safetensors -o x", "unknown method 'opps'; did you mean 'ops'"),
    ("poison wavelet clean.safetensors -o x", "unknown method 'wavelet'; choose one of .*sp, ops"),
    ("poison", "Missing command; see `.*poison --help`"),
    ("train clean.safetensors --frame ST -o x", "unknown frame .ST.; did you mean .st."),
    ("train clean.safetensors --frame st-cgg -o x", "unknown frame 'st-cgg'; did you mean 'st-cg'"),
    ("train clean.safetensors --frame nt+none -o x", "pass --frame nt --augment none"),
    ("train clean.safetensors --frame zz -o x", "unknown frame 'zz'; choose one of nt, nt-cg, at"),
    ("train clean.safetensors --frame nt --model smal -o x", "unknown model .* mean 'small'"),
    (
        "train clean.safetensors --frame nt --model resnet34 -o x",
        "of resnet18, .*timm:resnet34",
    ),
    (f"train clean.safetensors {NT} --epoch 2 -o x", "No such option.*--epoch.*--epochs"),
    ("poison ops clean.safetensors --epsilon 8/255 -o x", "No such option.*--epsilon"),
    (
        "poison sp photos --limit 9 -o x",
        "No such option: --limit; pass what `stkit data .* --limit N -o",
    ),
    (
        f"train photos {NT} --size 8 -o x",
        "No such option: --size; pass what `stkit data .* --size N -o",
    ),
    ("report nt.safetensors --limit 9", "No such option: --limit; see `"),
    ("eval nt.safetensors digits --limit 9", "`stkit data SOURCE --split test --limit N -o"),
    ("check sp.safetensors --clean digits --limit 9", "No such option: --limit .*see `"),
    ("list datasts", "unknown kind 'datasts'; did you mean 'datasets'"),
    ("report nt.safetensors --format pdf", "unknown format 'pdf'; choose one of table, markdown"),
    ("export clean.safetensors --format foldr -o x", "unknown format 'foldr'; did you mean"),
    ("probe clean.safetensors --prepare jpg", "unknown preparation 'jpg'; did you mean 'jpeg'"),
    ("check ops.safetensors", "found no --clean, expected the originals .*; pass --clean SOURCE"),
    ("check ops.safetensors --clean photos --augment jpg", "unknown augmentation 'jpg'; did you"),
    ("check ops.safetensors --clean photos --epochs 0", "epochs is 0, expected a number of at"),
    ("acm nt.safetensors clean.safetensors --variant rati", "ACM variant 'rati'.*mean 'ratio'"),
    (f"train clean.safetensors {ST} --acm-variant su -o x", "ACM variant 'su'; did you mean 'sum'"),
    ("poison sp clean.safetensors --bound l3 -o x", "unknown bound 'l3'"),
    ("poison sp clean.safetensors --rounding up -o x", "unknown rounding 'up'"),
    ("poison ops clean.safetensors --objective papr -o x", "objective 'papr'.*mean 'paper'"),
    ("data photos --split val -o x", "unknown split 'val'; choose one of train, test"),
    (f"train clean.safetensors {NT} --precision fp16 -o x", "unknown precision 'fp16'"),
    ("eval nt.safetensors photos --device gpu", "unknown device 'gpu'; choose one of auto, cpu"),
    ("eval nt.safetensors photos --device meta", "unknown device 'meta'"),
    ("eval nt.safetensors photos --device cpu:1", "unknown device 'cpu:1'; choose one of auto, c"),
    ("train clean.safetensors --frame nt", "Missing option .*--output"),
    ("train clean.safetensors -o x", "Missing option '--frame'"),
    ("poison sp -o x", "Missing argument 'SOURCE'"),
]
EPSILON = ["1.5", "-0.1", "-1/255", "256/255", "nan", "inf", "eight", "8/0", "8/", "/255", "''"]
RANGES = [
    ("poison sp clean.safetensors --poison-rate 1.5 -o x", "poison-rate is 1.5.*from 0 to 1"),
    ("poison ops clean.safetensors --poison-rate -0.1 -o x", "poison-rate is -0.1"),
    ("poison ops clean.safetensors --poison-rate nan -o x", "poison-rate is nan"),
    ("poison ops clean.safetensors --poison-rate half -o x", "--poison-rate: found 'half', exp"),
    ("poison sp clean.safetensors --epsilon 0 -o x", "epsilon is 0, which makes no noise"),
    ("poison sp clean.safetensors --seed -1 -o x", "seed is -1"),
    ("poison sp clean.safetensors --patch 0 -o x", "patch is 0, expected"),
    ("poison sp clean.safetensors --patch 17 -o x", "patch is 17, but the images are 16x16"),
    ("poison ops clean.safetensors --pixels 0 -o x", "pixels is 0, expected"),
    ("poison ops clean.safetensors --pixels 257 -o x", "pixels is 257, but the images have 256"),
    ("data photos --size 0 -o x", "size is 0, expected 1 or more"),
    ("data photos --limit -1 -o x", "limit is -1, expected 1 or more"),
    ("data photos --size big -o x", "--size: found 'big', expected a whole number; see `"),
    (f"data clean.safetensors --limit {10**30} -o x", "limit is 1000.*at most"),
    (f"data photos --size {10**30} -o x", "size is 1000.*, expected 65,536 at most"),
    (f"data photos --holdout 2 --seed {10**30} -o x", "seed is 1000"),
    (f"train clean.safetensors {NT} --batch-size {10**30} -o x", r"expected a number below 10\*\*"),
    (
        f"train clean.safetensors {NT} --epochs {'9' * 5000} -o x",
        "--epochs: .*at most 4,300 d",
    ),
    (f"train clean.safetensors {ST} --check-every {'9' * 5000} -o x", "expected `epoch` or"),
    (f"train clean.safetensors {ST} --beta 1e999999/3 -o x", "beta is inf, expected"),
    (f"train clean.safetensors {NT} --lr 1e999999 -o x", "lr is inf, expected"),
    ("poison sp clean.safetensors --epsilon 1e999999/3 -o x", "expected a number within"),
    (f"acm nt.safetensors clean.safetensors --per-class {'9' * 4000} {CPU}", "per-class is 999"),
    (f"bench nowhere --jobs {10**30}", "jobs is 1000"),
    ("bench nowhere --time-limit 1e999", "time-limit is inf"),
    (f"train clean.safetensors {NT} --epochs 0 -o x", "epochs is 0, expected"),
    (f"train clean.safetensors {NT} --freeze -o x", "freeze is given without init-from"),
    (f"train clean.safetensors {NT} {INIT} --init-layers first:0 -o x", "expected first:1 to"),
    (f"train clean.safetensors {NT} {INIT} --init-layers layr1 -o x", "did you mean 'layer1'"),
    (f"train clean.safetensors {NT} {INIT} --freeze -o x", "freeze leaves nothing to learn"),
    (f"train clean.safetensors {NT} --batch-size 0 -o x", "batch-size is 0, expected"),
    (f"train clean.safetensors {NT} --lr nan -o x", "lr is nan, expected"),
    (f"train clean.safetensors {NT} --lr -1 -o x", "lr is -1.0, expected"),
    (
        f"train clean.safetensors {NT} --seed two -o x",
        "--seed: found 'two', expected a whole",
    ),
    (f"train clean.safetensors {NT} --lr -o", "No such option|--lr: found '-o', expected a number"),
    (f"train clean.safetensors {NT} -o x --lr", "--lr: found no value after it, expected one"),
    (f"train clean.safetensors {NT} --holdout -1 -o x", "holdout is -1, expected"),
    (f"train clean.safetensors {NT} --holdout 24 -o x", "holdout is 24, but the set has 24 images"),
    ("train clean.safetensors --frame st --indicator purified -o x", "without holdout, the images"),
    (f"train clean.safetensors {NT} --purified -o x", "purified is given without holdout"),
    (f"train clean.safetensors {NT} --holdout 9 --purified -o x", "expected 100 images or more"),
    (
        f"train clean.safetensors {NT} --mean 1,2 -o x",
        "found 2 numbers, '1,2', expected one",
    ),
    (f"train clean.safetensors {NT} --mean nan -o x", "expected finite numbers"),
    (f"train clean.safetensors {NT} --std 0 -o x", "std above 0"),
    (f"train clean.safetensors {ST} --gamma nan -o x", "gamma is nan, expected"),
    (f"train clean.safetensors {ST} --beta 0 -o x", "beta is 0.0, expected"),
    (f"train clean.safetensors {ST} --beta 1/0 -o x", "--beta: found '1/0', expected a number"),
    (f"train clean.safetensors {ST} --check-every 0 -o x", "'0', expected `epoch` or a number"),
    (f"train clean.safetensors {ST} --check-every never -o x", "'never', expected `epoch`"),
    (f"train clean.safetensors {NT} --gamma 1 -o x", "gamma does not belong to frame 'nt'"),
    (f"train clean.safetensors {NT} --check-every 5 -o x", "check-every does not belong to"),
    (f"train clean.safetensors {ST} --adversary 4/255 -o x", "adversary does not belong to"),
    (f"train clean.safetensors {ST} --fine-tune-lr 1 -o x", "fine-tune-lr does not belong to"),
    (
        "train clean.safetensors --frame at --adversary 2 -o x",
        "found '2', expected a number with",
    ),
    (f"acm nt.safetensors clean.safetensors --per-class 0 {CPU}", "per-class is 0, expected"),
    (f"eval nt.safetensors clean.safetensors --batch-size 0 {CPU}", "batch-size is 0, expected"),
]


@pytest.mark.parametrize(("line", "pattern"), UNKNOWN + RANGES, ids=lambda text: text[:60])
def test_wrong_usage(line, pattern, refused):
    refused(line, pattern, 2)


@pytest.mark.parametrize("text", EPSILON)
def test_an_epsilon_that_is_no_number_from_0_to_1(text, refused):
    pattern = r"expected a number( within \[0,1\])?; write .*8/255"
    refused(f"poison sp clean.safetensors --epsilon {text} -o x", f"--epsilon.*{pattern}", 2)
    refused(f"eval nt.safetensors photos --adversary {text} {CPU}", f"--adversary.*{pattern}", 2)


# Sources


@pytest.mark.parametrize(
    "command", ["data {} -o x", "poison sp {} -o x", f"train {{}} {NT} -o x",
                f"train photos {NT} --test {{}} -o x", f"eval nt.safetensors {{}} {CPU} -o x",
                f"acm nt.safetensors {{}} {CPU} -o x", "inspect ops.safetensors --clean {}"],
)  # fmt: skip
def test_a_bad_source_is_refused_by_every_command(command, refused, work):
    (work / "empty").mkdir()
    (work / "hollow" / "ant").mkdir(parents=True)
    for source, pattern in (
        ("nowhere", "nowhere: no such folder, file or known data set; expected .*shapes, digits, "),
        ("nowhere.safetensors", "nowhere.safetensors: no such file; check the path"),
        ("empty", "empty: found no images; expected class folders"),
        ("hollow", "hollow: found no images; expected class folders"),
        ("nt.safetensors", "nt.safetensors: found a checkpoint file, expected a dataset file; "),
    ):
        refused(command.format(source), pattern)


def test_a_name_of_two_lines_makes_one_line(refused):
    refused("data 'no\nwhere' -o x", "error: no where: no such folder")


def test_a_folder_of_images_without_class_folders(refused, work):
    picture(work / "flat" / "a.png")
    refused("data flat -o x", "flat: found images but no class folders; unlearnable .* two or more")


def test_a_class_without_images(refused, work):
    (work / "photos" / "train" / "dog").mkdir()
    (work / "photos" / "train" / "dog" / "notes.txt").write_text("none yet")
    refused("data photos -o x", "photos/train/dog: no images in this class folder; add some or")


def test_a_folder_without_the_split(refused, work):
    shutil.rmtree(work / "photos" / "test")
    refused(f"eval nt.safetensors photos {CPU}", r"photos: has train/ but no test/ or val/; pass")


def test_an_empty_train_folder(refused, work):
    shutil.rmtree(work / "photos" / "train")
    (work / "photos" / "train").mkdir()
    refused("data photos -o x", "photos/train: found no class folders; expected one folder of")


DAMAGE = {
    "half": lambda data: data[: len(data) // 2], "start": lambda data: data[:9],
    "empty": lambda data: b"", "zeros": lambda data: bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tiff", "webp"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_image_is_named(ending, damage, refused, work):
    bad = picture(work / "photos" / "train" / "bee" / f"bad.{ending}")
    bad.write_bytes(DAMAGE[damage](bad.read_bytes()))
    refused("data photos -o x", rf"photos/train/bee/bad\.{ending}: unreadable image \(.+\); repair")


@pytest.mark.parametrize("error", [RuntimeError("codec"), MemoryError(), EOFError("end")])
def test_whatever_a_decoder_raises_names_the_image(error, refused, monkeypatch):
    def decode(*_):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    refused("data photos -o x", r"photos/train/\w+/\d\.(png|jpg): unreadable image \(.*\); repair")


def test_an_image_that_would_fill_the_memory(refused, work, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused("data photos -o x", "unreadable image .*exceeds limit.*; repair or remove it")


def test_images_of_several_sizes_without_size(refused, work):
    odd = picture(work / "photos" / "train" / "bee" / "odd.png", size=(20, 18))
    message = refused("data photos -o x", "is 16x16, but|is 20x18, but")
    assert odd.name in message and "stkit data FOLDER --size N" in message


def test_a_download_that_fails(refused, work, monkeypatch):
    from urllib.error import URLError

    from torchvision.datasets import CIFAR10

    def offline(self):
        raise URLError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", offline)
    refused(
        "data cifar10 --data-root sets -o x",
        "cifar10: not in sets and the download failed .*no route.*; pass --data-root, or a folder",
    )


def test_another_split_of_a_file(refused):
    refused(
        "data clean.safetensors --split test -o x",
        "clean.safetensors: holds the train split, expected test; leave --split out",
    )


def test_a_poisoned_set_is_not_poisoned_again(refused):
    refused("poison sp ops.safetensors -o x", r"poisoned already \(ops\), expected a clean one")


# Files


READERS = {
    "dataset": "data {} -o x", "poison": "poison ops {} -o x", "train": f"train {{}} {NT} -o x",
    "export": "export {} -o x", "inspect": "inspect {}", "report": "report clean.safetensors {}",
    "clean": "inspect ops.safetensors --clean {}", "acm": f"acm {{}} photos {CPU} -o x",
    "eval": f"eval {{}} photos {CPU} -o x",
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_a_foreign_or_truncated_file(reader, refused, work):
    whole = (work / "clean.safetensors").read_bytes()
    bad = {
        "text": b"label,pixels\n0,1\n",
        "empty": b"",
        "image": picture(work / "a.png").read_bytes(),
    }
    bad |= {f"cut{n}": whole[:n] for n in (5, 100, len(whole) // 2, len(whole) - 1)}
    for name, data in bad.items():
        (work / f"{name}.safetensors").write_bytes(data)
        found = (
            "(it is truncated|its header is not readable|it is truncated or not a safetensors file)"
        )
        refused(
            READERS[reader].format(f"{name}.safetensors"),
            f"{name}.safetensors: {found}; expected a file made by stkit",
        )
    save_file({"images": torch.zeros(3)}, work / "foreign.safetensors")
    save_file({"w": torch.zeros(3)}, work / "other.safetensors", metadata={"stkit": "{}"})
    for name in ("foreign", "other"):
        refused(READERS[reader].format(f"{name}.safetensors"), f"{name}.*not written by stkit")


def test_a_dataset_where_a_checkpoint_is_wanted(refused):
    for command in ("acm", "eval"):
        refused(
            f"{command} clean.safetensors photos {CPU}",
            "clean.safetensors: found a dataset file, expected a checkpoint file; pass what",
        )


def test_a_checkpoint_where_a_dataset_is_wanted(refused):
    refused("export nt.safetensors -o x", "found a checkpoint file, expected a dataset file; pass")


def test_another_format(refused, work):
    images = load("clean.safetensors")
    artifact.write(work / "new.safetensors", images.tensors(), {**images.header, "format": 2})
    refused("data new.safetensors -o x", "found file format 2, expected 1; use the stkit that")


def forged(work, name: str = "forged.safetensors", head: dict | None = None, **tensors) -> str:
    """A dataset file in which these tensors (None: left out) and header keys are replaced."""
    images = load("clean.safetensors")
    tensors, head = (
        {key: value for key, value in both.items() if value is not None}
        for both in (images.tensors() | tensors, images.header | (head or {}))
    )
    artifact.write(work / name, tensors, head)
    return name


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"labels": torch.arange(24)}, "labels run from 0 to 23, expected 0 to 2 for 3 classes"),
        ({"labels": torch.arange(24) % 3 - 1}, "labels run from -1 to 1, expected 0 to 2"),
        ({"labels": torch.zeros(24)}, r"labels are torch.float32 \[24\], expected int64 \[24\]"),
        ({"labels": torch.zeros(23).long()}, r"labels are torch.int64 \[23\], expected int64 \[24"),
        ({"index": torch.zeros(24, 1).long()}, r"index are torch.int64 \[24, 1\], expected int64"),
        ({"images": torch.zeros(24, 3, 4, 4)}, r"images are torch.float32 .*, expected uint8 \[N,"),
        (
            {"images": torch.zeros(24, 1, 4, 4).byte()},
            r"images are .*24, 1, 4, 4\], expected uint8",
        ),
        ({"names": torch.zeros(3).byte()}, "4 names for 24 images"),
        ({"poisoned": torch.zeros(24)}, r"poisoned is torch.float32 \[24\], expected bool \[24\]"),
        ({"labels": None}, "has no labels; make the file again"),
        ({"head": {"classes": None}}, "damaged, it lacks 'classes'; make it again"),
        ({"head": {"classes": ["ant", "bee"]}}, "labels run from 0 to 2, expected 0 to 1"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_labels_out_of_range_and_other_shapes(change, pattern, refused, work):
    name = forged(work, **change)
    for command in ("data {} -o x", f"train {{}} {NT} -o x", f"acm nt.safetensors {{}} {CPU}"):
        refused(command.format(name), f"{name}: {pattern}")


def test_names_that_lead_out_of_the_folder(refused, work):
    for bad in ("../ant/0.png", "/ant/0.png", "ant/../../0.png"):
        names = "\0".join([bad, *(f"ant/{i}.png" for i in range(23))])
        name = forged(work, names=torch.tensor(list(names.encode()), dtype=torch.uint8))
        refused(f"export {name} -o x", "leads out of the folder")
    name = forged(work, names=None, head={"classes": ["ant", "bee", "../../cow"]})
    refused(f"export {name} -o x", "'../../cow/.*' leads out of the folder")


@pytest.mark.parametrize("key", ["progress", "classes", "model", "records", "recipe"])
def test_a_checkpoint_whose_header_is_incomplete(key, refused, work):
    head, tensors = artifact.read(work / "nt.safetensors")
    del head[key]
    artifact.write(work / "bad.safetensors", tensors, head)
    for line in (f"eval bad.safetensors photos {CPU}", "report bad.safetensors"):
        refused(line, f"bad.safetensors: damaged, it lacks '{key}'; make it again")


def test_a_checkpoint_whose_weights_do_not_fit(refused, work):
    head, tensors = artifact.read(work / "nt.safetensors")
    del tensors["fc.bias"]
    artifact.write(work / "bad.safetensors", tensors, head)
    refused(
        f"eval bad.safetensors photos {CPU}", "bad.safetensors: the weights do not fit .*fc.bias"
    )


# What does not fit together


@pytest.mark.parametrize("command", ["eval nt.safetensors {}", "acm nt.safetensors {}"])
def test_a_dataset_that_does_not_fit_the_checkpoint(command, refused, work):
    load("photos", size=8).save(work / "small.safetensors")
    refused(
        command.format("small.safetensors") + f" {CPU}",
        f"nt.safetensors takes 16x16 images, the data set has 8x8; .*--size {SIDE}",
    )
    refused(
        command.format("digits") + f" {CPU}",
        r"nt.safetensors knows 3 classes \(ant, bee, cow\), the data set has 10 \(0, 1, 2, ...\)",
    )


def test_a_test_set_that_does_not_fit_the_training_set(refused, work):
    load("photos", size=8).save(work / "small.safetensors")
    refused(f"train photos {NT} --test digits -o x", "the training set knows 3 classes")
    refused(f"train photos {NT} --test small.safetensors -o x", "the training set takes 16x16")
    picture(work / "photos" / "test" / "bee" / "odd.png", size=(20, 18))
    for line in (
        f"train clean.safetensors {NT} --test photos -o x",
        f"eval nt.safetensors photos {CPU}",
    ):
        refused(line, "; one size .*`stkit data photos --split test --size 16 -o FILE` first")


def test_images_that_are_not_square(refused, work):
    for i in range(4):
        picture(work / "wide" / "ant" / f"{i}.png", i, size=(20, 12))
    refused(f"train wide {NT} -o x", "takes 12x12 images, the data set has 20x12; .*--size 12")


def test_a_clean_set_that_is_not_the_one(refused, work):
    load("photos", size=8).save(work / "small.safetensors")
    load("photos", limit=6).save(work / "few.safetensors")
    line = "inspect ops.safetensors --clean"
    refused(
        f"{line} small.safetensors", r"published images are \[3, 16, 16\], the clean ones \[3, 8"
    )
    refused(f"{line} few.safetensors", "18 of 24 published images have no clean image of the same")


def test_a_set_that_is_too_small_to_be_probed(refused):
    refused("probe clean.safetensors", "found 24 images of 3 classes, expected 100 or more")
    refused("check ops.safetensors --clean photos", "found 24 images of 3 classes, expected 100")


def test_one_class_has_no_acm(refused, work):
    head = {"classes": ["ant", "bee", "cow"]}
    name = forged(work, head=head, labels=torch.zeros(24).long())
    refused(f"acm nt.safetensors {name} {CPU} -o x", "samples of 1 class.* at least 2; pass more")


# Outputs


WRITERS = [
    "data photos", "poison sp clean.safetensors", "poison ops clean.safetensors",
    f"train clean.safetensors {NT} -q", f"acm nt.safetensors clean.safetensors {CPU}",
    f"eval nt.safetensors photos {CPU}",
]  # fmt: skip


@pytest.mark.parametrize("line", WRITERS)
def test_an_output_that_exists_or_cannot_be(line, refused, work):
    (work / "taken").write_text("mine")
    refused(f"{line} -o taken", "taken: exists already; pass --force to replace it or another -o")
    refused(
        f"{line} -o photos --force", "photos: found a folder, expected a file name; pass -o FILE"
    )
    refused(f"{line} -o . --force", "found a folder, expected a file name; pass -o FILE")
    refused(f"{line} -o taken/deep/x", "taken is no folder that can be written to; pass another -o")


def test_a_folder_that_exists(refused, work):
    (work / "taken").write_text("mine")
    for out in ("taken", "photos"):
        refused(f"export clean.safetensors -o {out}", f"{out}: exists already; pass a new folder")
    refused("export clean.safetensors -o taken/x", "taken/x: cannot be written")


@pytest.mark.parametrize("line", WRITERS)
def test_a_full_disk(line, refused, work, monkeypatch):
    """Once at the sync, before the rename; the old file is kept even under --force."""

    def full(_):
        raise OSError(28, "No space left on device")

    (work / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    for out in ("new", "x --force"):
        refused(
            f"{line} -o {out}", r"cannot be written \(No space left on device\); free some space"
        )


@pytest.mark.parametrize("line", WRITERS[:4])
def test_a_limit_on_file_size(line, refused, work):
    """A real failure of write(2), in the middle of a file."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # as Python sets it
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        refused(f"{line} -o x", r"x: cannot be written \(File too large\); free some space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_in_the_middle_of_an_export(refused, monkeypatch):
    save, saved = Image.Image.save, []

    def full(image, path):
        saved.append(path)
        if len(saved) > 5:
            raise OSError(28, "No space left on device")
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    refused("export clean.safetensors -o x", r"x: cannot be written \(No space left on device\)")
    assert len(saved) > 5


# --resume


@pytest.fixture
def unfinished(cli, signalled):
    """Leave x.part behind: a training that gets a signal within its fourth step."""

    def leave(line: str) -> None:
        with signalled(signal.SIGTERM, 4):
            assert cli(*shlex.split(line)).code == 143

    return leave


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ("--lr 0.05", ["recipe.phases.0.lr was 0.1, now 0.05"]),
        ("--seed 7", ["seed was 0, now 7"]),
        (
            "--beta 1/5 --gamma 3",
            ["staged.beta was 0.25, now 0.2", "staged.gamma was 0.00026, now 3"],
        ),
        ("--frame st-cg", ["recipe.frame was st, now st-cg", "augment.2 was absent, now jitter"]),
        ("--epochs 4", ["recipe.phases.0.epochs was 3, now 4"]),
        ("--batch-size 6 --holdout 3", ["batch_size was 8, now 6", "holdout was 0, now 3"]),
        ("--model resnet18", ["recipe.model was small, now resnet18"]),
        ("--test photos", ["inputs.1.kind was absent, now dataset"]),
    ],
)
def test_resume_with_another_recipe_lists_what_differs(change, fields, refused, unfinished):
    unfinished(f"train clean.safetensors {ST} -o x")
    message = refused(
        f"train clean.safetensors {ST} {change} -o x --resume",
        "x.part: the unfinished work was made with other settings: .*; pass the same ones, or --f",
    )
    assert all(field in message for field in fields)


def test_resume_with_other_data(refused, unfinished):
    unfinished(f"train clean.safetensors {ST} -o x")
    message = refused(f"train ops.safetensors {ST} -o x --resume", "made with other settings")
    assert "inputs.0.digest was " in message and "inputs.0.recipe.method was absent" in message


def test_unfinished_work_is_not_thrown_away(refused, cli, unfinished, work):
    line = f"train clean.safetensors {ST} -o x"
    unfinished(line)
    refused(line, "x.part: unfinished work is there; pass --resume to go on with it, or --force")
    refused(f"eval x.part photos {CPU}", "x.part: unfinished; run the same .* with --resume")
    assert cli(*shlex.split(line), "--force", "-q").code == 0
    assert not (work / "x.part").exists()


def test_resume_from_what_is_no_unfinished_training(refused, cli, work):
    line = f"train clean.safetensors {NT} -o x --resume"
    shutil.copy("nt.safetensors", "x.part")
    refused(f"{line} --seed 1", "x.part: .*other settings: seed was 0, now 1")
    assert cli(*shlex.split(line), "-q").code == 0  # this very one: it is given its place
    assert (work / "x").read_bytes() == (work / "nt.safetensors").read_bytes()
    (work / "x").unlink()
    shutil.copy("clean.safetensors", "x.part")
    refused(line, "error: x.part: found a dataset file, expected a checkpoint file")
    (work / "x.part").write_bytes((work / "nt.safetensors").read_bytes()[:-1])
    refused(line, "error: x.part: it is truncated")


# Devices and memory


LOWER = (
    r"the device is out of memory; lower --batch-size \(acm: --per-class; rem: also --eot\), "
    r"or pass --device"
)


@pytest.mark.parametrize("device", ["cuda", "cuda:99"])
def test_a_gpu_where_there_is_none(device, refused):
    pattern = (
        rf"device {device} is asked for, but (no|\d+) GPUs? (is|are) there[:;] .*pass --device"
    )
    refused(f"train clean.safetensors --frame nt -o x --device {device}", pattern)
    refused(f"eval nt.safetensors photos --device {device}", pattern)
    refused(f"acm nt.safetensors photos --device {device}", pattern)


FULL = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize(("largest", "remedy"), [(3, "--batch-size 2 fits"), (0, "lower --batch-")])
def test_a_batch_that_does_not_fit_names_one_that_does(
    error, largest, remedy, refused, monkeypatch
):
    """Batches of 8; memory for `largest` images at a time."""

    convolve = torch.nn.Conv2d.forward

    def full(self, x):
        if torch.is_grad_enabled() and len(x) > largest:
            raise error
        return convolve(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", full)
    pattern = f"a batch of 8 images does not fit into the memory; {remedy}"
    refused(f"train clean.safetensors {NT.replace('nt', 'at')} -o x", pattern)
    refused(f"eval nt.safetensors photos {CPU} --adversary 4/255 --batch-size 8 -o x", pattern)
    rem = "--model small --model-steps 1 --steps 1 --eot 1 --batch-size 8"
    refused(f"poison rem clean.safetensors {rem} {CPU} -o x", pattern)
    refused(f"poison em clean.safetensors --model small --batch-size 8 {CPU} -o x", pattern)


@pytest.mark.parametrize("error", FULL)
def test_out_of_memory_elsewhere_says_what_to_lower(error, refused, monkeypatch):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(torch.nn.Conv2d, "forward", full)
    memory = "out of memory; pass fewer or smaller images"
    refused(f"acm nt.safetensors photos {CPU} -o x", memory if error is FULL[3] else LOWER)


def test_a_bug_of_ours_is_not_hidden(cli, work, monkeypatch):
    """Only what a user can cause or repair becomes one line."""

    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(SGD, "step", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        cli(*shlex.split(f"train clean.safetensors {NT} -o x"))
