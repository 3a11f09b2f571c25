"""`--record`: what is measured at an epoch's end, of which weights; nothing changes by it."""

import pytest
import torch
from torch import nn

from stkit.core import header
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.measure.acm import acm
from stkit.measure.gradients import gradients
from stkit.report import gather, groups
from stkit.report.rerun import chain
from stkit.training import staged
from stkit.training.run import train

ALL = "acm:penultimate,1,layer2.0,gradients:1,fc"
SMALL = {"model": "small", "epochs": 2, "batch_size": 30, "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60, size=16)


@pytest.mark.parametrize("frame", ["nt", "st"])
def test_a_training_is_the_same_with_and_without(frame, digits, tmp_path) -> None:
    """Weights to the last bit, and one group in reports; a file without it has no word of it."""
    options = SMALL | ({"gamma": 0.0} if frame == "st" else {})  # st: each check rolls back
    runs = [train(digits, frame, record=each, **options) for each in (None, ALL)]
    bare, run = ({**run.save(tmp_path / f"{i}.safetensors")} for i, run in enumerate(runs))
    assert bare["digest"] == run["digest"] and run["recipe"]["record"] == ALL
    assert "record" not in bare["recipe"] and "recorded" not in bare["records"][0]
    rest = [{k: v for k, v in e.items() if k != "recorded"} for e in run["records"]]
    assert header.dumps(rest) == header.dumps(bare["records"])
    results = gather.gather(sorted(tmp_path.glob("*"))).results
    assert len(groups.grouped(results, None)) == 1
    (_, step) = chain(header.read(tmp_path / "1.safetensors"))
    assert step.command.options["record"] == ALL
    (read,) = (r for r in results if r.file.endswith("1.safetensors"))
    assert read.history[-1].recorded == runs[1].epochs[-1].recorded
    assert set(read.history[0].recorded["acm"]) == {"penultimate", "1", "layer2.0"}


def test_what_is_recorded_is_what_the_measures_say_of_the_weights(digits) -> None:
    """Without roll-backs those of the last epoch are the file's."""
    run = train(digits, "nt", record=ALL, **SMALL)
    recorded = run.epochs[-1].recorded
    for name, layer in {"penultimate": None, "1": 1, "layer2.0": "layer2.0"}.items():
        assert recorded["acm"][name] == acm(run.model, digits, layer=layer).scores
    for name, layer in {"1": 1, "fc": "fc"}.items():
        assert recorded["gradients"][name] == gradients(run.model, digits, layer=layer)


@pytest.mark.parametrize(("layer", "name"), [(None, "penultimate"), (1, "1"), ("layer1", "layer1")])
def test_it_is_of_the_weights_before_a_roll_back_and_measured_once(
    layer, name, digits, monkeypatch
) -> None:
    """A check at the epoch's end takes what was recorded of the layer that it judges by, which is
    what it would measure."""
    options = SMALL | {"gamma": 0.0, "beta": 0.5, "layer": layer}
    plain = train(digits, "st", **options)
    monkeypatch.setattr(staged.acm, "measure", None)
    run = train(digits, "st", record="acm:penultimate,1,layer1", **options)
    assert run.epochs[0].rolled_back
    for epoch, bare in zip(run.epochs, plain.epochs, strict=True):
        assert epoch.recorded["acm"][name] == epoch.checks[-1].acm == bare.checks[-1].acm
    assert (layer is None) == ("layer" not in plain.header["recipe"]["phases"][0]["staged"])


@pytest.mark.parametrize(
    ("frame", "layer", "said"),
    [
        ("nt", 1, "option acm-layer does not belong to frame 'nt'"),
        ("st", "lyer1", "unknown layer 'lyer1'; did you mean 'layer1'"),
        ("st", 99, "layer is 99, expected a number from 1 to 14"),
        ("st", 0, "acm-layer is 0, expected a number of at least 1"),
    ],
)
def test_layers_that_a_schedule_cannot_judge_by(frame, layer, said, digits) -> None:
    with pytest.raises(RecipeError, match=said):
        train(digits, frame, layer=layer, **SMALL)


def test_a_run_that_is_taken_up_goes_on_recording(cli, tmp_path, signalled, digits) -> None:
    data, whole, cut = (tmp_path / f"{name}.safetensors" for name in ("data", "whole", "cut"))
    digits.save(data)
    words = ["train", data, "--frame=st", "--model=small", "--epochs=3", "--batch-size=30"]
    words += ["--device=cpu", "--record=acm,gradients", "-q"]
    assert cli(*words, "-o", whole).code == 0
    with signalled(2, 4):
        assert cli(*words, "-o", cut).code == 130
    other = cli(*[word for word in words if "record" not in str(word)], "-o", cut, "--resume")
    assert other.code == 1 and "recipe.record was acm:penultimate,gradients:1, now" in other.err
    assert cli(*words, "-o", cut, "--resume").code == 0
    assert whole.read_bytes() == cut.read_bytes()
    assert all("recorded" in record for record in header.read(cut)["records"])


class Odd(nn.Module):
    """A layer that puts out a pair, and one that puts out whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.order, self.fc = nn.LSTM(16, 4), Order(), nn.Linear(3 * 16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.pair(x[:, 0])
        self.order(x)
        out: torch.Tensor = self.fc(x.flatten(1))
        return out


class Order(nn.Module):
    """The places of the largest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).argsort(1)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("acm:pair", r"layer 'pair' puts out no \[N,...\] of numbers"),
        ("acm:order", r"layer 'order' puts out no \[N,...\] of numbers"),
        ("acm:ordre", "unknown layer 'ordre'; did you mean 'order'?"),
        ("gradients:order", "layer 'order' has no parameters"),
        ("gradients:9", "layer is 9, expected a number from 1 to"),
        ("gradient", "did you mean 'gradients'"),
    ],
)
def test_what_cannot_be_recorded_is_said_before_the_first_step(record, said, digits) -> None:
    with pytest.raises(RecipeError, match=said):
        train(digits, "nt", record=record, **SMALL | {"model": Odd()})
    one = digits.rows(torch.where(digits.labels == 0)[0])
    with pytest.raises(DataError, match="of one class only"):
        train(one, "nt", record="acm", **SMALL)
