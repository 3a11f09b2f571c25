"""Headers as JSON: what is written, what is read back, what differs."""

import json
import os
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
import torch

from stkit.core import header
from stkit.core.errors import ArtifactError

HEAD = header.make("dataset", {"source": "digits", "limit": None}, seed=3, inputs=[],
                   classes=["x"], split="train")  # fmt: skip


def stored(path: Path, meta: object, *, size: int = 0) -> Path:
    """A safetensors file without tensors, whose metadata is this."""
    text = json.dumps({"__metadata__": meta}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * size)
    return path


def test_numbers_that_json_lacks_are_text_and_come_back() -> None:
    text = header.dumps({"b": [nan, (inf, 1)], "a": -inf})
    assert text == '{"a":"-inf","b":["nan",["inf",1]]}'
    back = header.numbers(json.loads(text))
    assert back["a"] == -inf and isnan(back["b"][0]) and back["b"][1] == [inf, 1]


def test_numbers_of_numpy_and_torch_are_pythons() -> None:
    values = [np.float32(0.5), np.int64(3), np.bool_(True), torch.tensor([1.5, nan]), np.float64(2)]
    assert header.dumps(values) == '[0.5,3,true,[1.5,"nan"],2.0]'


def test_flat_names_every_leaf_by_its_path() -> None:
    assert header.flat({"a": [5, {"b": None}], "c": {}}) == {"a.0": 5, "a.1.b": None}


def test_differences_are_of_recipe_seed_and_inputs_alone() -> None:
    child = header.make("checkpoint", {"lr": 0.1, "epsilon": nan}, seed=0, inputs=[HEAD])
    other = {**child, "recipe": {"lr": 0.2, "epsilon": nan, "mix": "cutmix"}, "versions": {}}
    assert header.differences(child, child) == []
    assert header.differences(child, other) == [
        "recipe.lr was 0.1, now 0.2", "recipe.mix was absent, now cutmix",
    ]  # fmt: skip
    header.same(child, {**child, "versions": {}})
    with pytest.raises(ArtifactError, match=r"recipe.lr was 0.1, now 0.2; .*pass the same ones"):
        header.same(child, other)


def test_a_header_is_read_back(tmp_path: Path) -> None:
    path = stored(tmp_path / "f", {"stkit": header.dumps(HEAD)})
    with pytest.raises(ArtifactError, match="its header is not the one that was written"):
        header.read(path)
    sealed = {**HEAD, "seal": header.seal(HEAD)}
    path = stored(tmp_path / "f", {"stkit": header.dumps(sealed)})
    assert header.read(path) == header.read(path, "dataset") == sealed
    assert header.is_stkit(path) and header.is_stkit(Path("absent.safetensors"))
    assert not header.is_stkit(tmp_path)


def test_older_work_is_read_with_the_names_of_today(tmp_path: Path) -> None:
    phase = {"prepare": ["gray-jpeg"], "augment": ["crop", "grey"]}
    older = {**HEAD, "recipe": {"augment": "mine.grey", "phases": [phase]}}
    older |= {"inputs": [{**HEAD, "recipe": older["recipe"]}]}
    path = stored(tmp_path / "f", {"stkit": header.dumps(older | {"seal": header.seal(older)})})
    now = {"augment": "mine.grey", "phases": [phase | {"augment": ["crop", "random-gray"]}]}
    read = header.read(path)
    assert read["recipe"] == read["inputs"][0]["recipe"] == now


@pytest.mark.parametrize(
    ("meta", "size", "message"),
    [
        ({}, 0, "not written by stkit"),
        ({"stkit": "{"}, 0, "not written by stkit"),
        ({"stkit": "[]"}, 0, "not written by stkit"),
        ({"stkit": header.dumps(HEAD)}, 1, "it is truncated"),
        ({"stkit": header.dumps({**HEAD, "format": 2})}, 0, "found file format 2, expected 1"),
        ({"stkit": header.dumps(HEAD)}, 0, "found a dataset file, expected a acm or eval file"),
    ],
)
def test_what_is_no_header(tmp_path: Path, meta: object, size: int, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        header.read(stored(tmp_path / "f", meta, size=size), "acm", "eval")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        header.read(tmp_path / "f")
    with pytest.raises(ArtifactError, match="found a folder"):
        header.read(tmp_path)


def test_the_seal_covers_all_but_itself() -> None:
    assert header.seal(HEAD) == header.seal({**HEAD, "seal": "x"})
    assert header.seal(HEAD) != header.seal({**HEAD, "seed": 1})


WRONG = [
    ("seed", "3"), ("seed", -1), ("digest", None), ("recipe", []), ("inputs", [{}]), ("inputs", 1),
    ("versions", {"stkit": 1}), ("classes", [1]), ("classes", "ant"), ("split", None),
    ("recipe", {"poison_rate": 2.0}), ("seed", 2**70), ("kind", "state"), ("kind", 5),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_what_readers_rely_on_is_checked_once_where_a_header_is_read(
    tmp_path: Path, key: str, value: object
) -> None:
    """Also in a header whose seal is right: a forged one."""
    for changed in ({**HEAD, key: value}, {k: v for k, v in HEAD.items() if k != key}):
        sealed = {**changed, "seal": header.seal(changed)}
        path = stored(tmp_path / "f", {"stkit": header.dumps(sealed)})
        with pytest.raises(ArtifactError, match=f"^{path}: "):
            header.read(path)


def test_what_a_safetensors_header_may_not_be(tmp_path: Path) -> None:
    path = tmp_path / "f"
    whole = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for wrong in (
        "[" * 500 + "]" * 500, "[]", '"x"', json.dumps({"a": []}), json.dumps({"__metadata__": 5}),
        *(json.dumps({"a": whole | {"data_offsets": value}}) for value in ([], [0], [4, 0, 1], 4)),
        *(json.dumps({"a": whole | {"shape": value}}) for value in ([-1], 4, ["x"])),
        json.dumps({"a": whole | {"data_offsets": [0, 10**30]}}),
    ):  # fmt: skip
        path.write_bytes(len(wrong).to_bytes(8, "little") + wrong.encode() + bytes(4))
        with pytest.raises(ArtifactError, match=f"^{path}: "):
            header.read(path)
    os.truncate(path, 1 << 28)
    with open(path, "r+b") as file:
        file.write((1 << 27).to_bytes(8, "little"))
    with pytest.raises(ArtifactError, match="its header has 134,217,728 bytes"):
        header.read(path)
