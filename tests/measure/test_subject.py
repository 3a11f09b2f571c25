"""Models and data at the doors `acm` and `evaluate`: any module, any DataLoader, a checkpoint."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stkit import Images, acm, acm_by_layer, evaluate, layers, load, load_checkpoint
from stkit.core import artifact, header
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import to_float
from stkit.engine.pgd import evaluating
from stkit.engine.runtime import Runtime, pick
from stkit.measure.acm import draw, scores
from stkit.measure.clusters import clusters


class Net(nn.Module):
    """Four numbers an image, by way of a norm and dropout; its linear layers are called a and b."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.b(self.drop(self.a(self.norm(images).mean((2, 3)))).relu())


def net() -> Net:
    """The same net every time, its norm in a mode of its own."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        made = Net()
    made.norm.eval()
    return made


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.fixture(scope="module")
def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (42, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images.from_tensors(pixels, torch.arange(42) % 4)


def loaders(images: Images) -> list:
    """The set as uint8, as floats, as a plain list of batches."""
    floats = TensorDataset(to_float(images.pixels), images.labels.int())
    return [
        DataLoader(TensorDataset(images.pixels, images.labels), batch_size=16),
        DataLoader(floats, batch_size=16),
        list(DataLoader(floats, batch_size=16)),
    ]


def test_acm_of_a_loader_is_that_of_the_images(images):
    model = net()
    wanted, before = acm(model, images, per_class=6, seed=3), modes(model)
    for loader in loaders(images):
        measured = acm(model, loader, per_class=6, seed=3)
        assert measured.scores == wanted.scores and measured.images is None
    assert modes(model) == before


@pytest.mark.parametrize("adversary", [None, 4 / 255])
def test_evaluation_of_a_loader_is_that_of_the_images(adversary, images):
    model = net()
    wanted, before = evaluate(model, images, adversary=adversary, batch_size=16), modes(model)
    assert wanted.n == 42 and (wanted.robust is None) == (adversary is None)
    for loader in loaders(images):
        measured = evaluate(model, loader, adversary=adversary)
        assert torch.equal(measured.confusion, wanted.confusion)
        assert measured.robust_accuracy == wanted.robust_accuracy
    assert modes(model) == before


def test_features_of_a_named_layer(images):
    model = net()
    penultimate = acm(model, images)
    assert acm(model, images, layer="drop").scores != penultimate.scores
    assert acm(model, images, layer="drop").layer == "drop"
    with pytest.raises(RecipeError, match="unknown layer 'aa'; did you mean 'a'"):
        acm(model, images, layer="aa")


def test_acm_of_every_layer_is_that_of_each(images):
    """By number, and at last of the penultimate features; equal to those that a hook sees."""
    model = net()
    each = acm_by_layer(model, images, variant="ratio")
    of = [measured.layer for measured in each]
    assert of == [*range(1, len(layers(model, 8)) + 1), None]
    for measured in each:
        assert measured.acm == acm(model, images, variant="ratio", layer=measured.layer).acm
    seen = []
    hook = model.get_submodule("norm").register_forward_hook(lambda _, x, out: seen.append(out))
    rows = draw(images.labels, classes=4, seed=0)
    with torch.no_grad(), evaluating(model):
        model(to_float(images.pixels[rows]))
    hook.remove()
    wanted = scores(clusters(seen[0].mean((2, 3)), images.labels[rows], 4))
    assert acm(model, images, layer="norm").scores == wanted


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "a batch is a Tensor, expected images and labels; pass a Data"),
        ((torch.zeros(2, 3, 8), torch.zeros(2).long()), "images are torch.float32 .2, 3, 8., exp"),
        ((torch.zeros(2, 3, 8, 8).int(), torch.zeros(2).long()), "expected uint8 or float"),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2)), "labels are torch.float32 .2., expected whole"),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(3).long()), "labels are torch.int64 .3., expected"),
        (
            (torch.full((2, 3, 8, 8), 1.5), torch.zeros(2).long()),
            r"from 1.5 to 1.5, expected .0,1.",
        ),
        (
            (torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2).long()),
            "put the normalisation into",
        ),
        ((torch.zeros(2, 3, 8, 8), torch.tensor([0, -1])), "has the label -1, expected 0 or more"),
    ],
)
def test_batches_that_are_none_of_images(batch, message):
    for measurement in (acm, evaluate):
        with pytest.raises(DataError, match=message):
            measurement(net(), [batch])


def test_what_does_not_fit_together(images):
    with pytest.raises(DataError, match=r"gives \[4\] numbers an image, the data set has 10"):
        evaluate(net(), load("digits", limit=20))
    with pytest.raises(DataError, match=r"gives \[2, 4\] numbers, a label is 4; pass the data"):
        evaluate(net(), [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 4]))])
    for measurement in (acm, evaluate):
        with pytest.raises(DataError, match="found no batch, expected at least one"):
            measurement(net(), [])
        with pytest.raises(RecipeError, match=r"model is a str, expected an nn.Module or a check"):
            measurement("st.safetensors", images)
        with pytest.raises(RecipeError, match="the model is on cpu, the runtime computes on meta"):
            measurement(net(), images, runtime=Runtime(torch.device("meta"), "fp32"))
    with pytest.raises(RecipeError, match="adversary is 2, expected a number from 0 to 1"):
        evaluate(net(), images, adversary=2)


def test_what_is_no_data_no_model_or_no_adversary(images):
    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    text = [(torch.zeros(2, 3, 8, 8), ("ant", "bee"))]
    wide = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 9, 4))
    for measurement in (acm, evaluate):
        with pytest.raises(DataError, match="data are a NoneType, expected images or batches"):
            measurement(net(), None)
        with pytest.raises(DataError, match=r"labels are a tuple \(.*\), expected a tensor; pass"):
            measurement(net(), text)
        for data in (images, *loaders(images)):
            with pytest.raises(RecipeError, match=r"Sequential cannot take images \[3, 8, 8\] \("):
                measurement(wide, data)
        with pytest.raises(RecipeError, match="the model is on meta, expected cpu, cuda or mps"):
            measurement(net().to("meta"), images)
    for data in (images, loaders(images)[0]):
        with pytest.raises(RecipeError, match="Pair answers images by a tuple, expected a tensor"):
            evaluate(Pair(), data)
    for wrong in ("4/255", [0.1]):
        with pytest.raises(RecipeError, match="expected a number from 0 to 1 or an Adversary"):
            evaluate(net(), images, adversary=wrong)


@pytest.mark.parametrize("other", [torch.zeros(2, 3, 9, 9), torch.zeros(2, 3, 8, 8).byte()])
def test_acm_takes_batches_of_one_size_and_type(other):
    labels = torch.arange(2)
    with pytest.raises(DataError, match=r"those of the first .*\[2, 3, 8, 8\], expected one size"):
        acm(net(), [(torch.zeros(2, 3, 8, 8), labels), (other, labels)])


def test_what_fails_beside_the_model_is_not_put_on_it(images):
    class Heavy(Net):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                raise KeyError("for so many")
            return super().forward(images)

    for measurement in (acm, evaluate):
        with pytest.raises(KeyError, match="for so many"):
            measurement(Heavy(), images)


def test_a_checkpoint_knows_what_it_was_trained_on(made):
    trained = load_checkpoint(made / "nt.safetensors")
    clean = load(made / "clean.safetensors")
    assert trained.classes == clean.classes and trained.seed == 0
    with pytest.raises(
        DataError, match=r"nt.safetensors knows 3 classes .ant, bee, cow., the data"
    ):
        evaluate(trained, load("digits", limit=20))
    with pytest.raises(DataError, match="takes 16x16 images, the data set has 8x8"):
        acm(trained, load(made / "clean.safetensors", size=8))
    assert acm(trained, clean).scores == acm(trained.model, clean).scores, "nothing prepared"


def test_files_name_what_was_measured(made, images, tmp_path):
    """A checkpoint as it names itself, a module by its weights, images by their digest."""
    trained, clean = load_checkpoint(made / "nt.safetensors"), load(made / "clean.safetensors")
    for measurement in (acm, evaluate):
        head = measurement(trained, clean).save(tmp_path / "f")
        assert head == header.read(tmp_path / "f")
        digests = [parent["digest"] for parent in head["inputs"]]
        assert digests == [trained.header["digest"], clean.provenance["digest"]]
        model = net()
        measured = measurement(model, images)
        weights = artifact.digest(model.state_dict())
        nn.init.zeros_(model.b.weight)  # what is done to it later changes no record
        first, second = measured.save(tmp_path / "f")["inputs"]
        assert first == {
            "kind": "model", "recipe": {"model": "Net"}, "seed": None, "digest": weights,
            "inputs": [],
        }  # fmt: skip
        assert second["digest"] == images.provenance["digest"]
        (only,) = measurement(net(), loaders(images)[0]).save(tmp_path / "f")["inputs"]
        assert only["digest"] == weights


def test_files_of_modules_are_reported(cli, images, tmp_path):
    acm(net(), images).save(tmp_path / "acm")
    evaluate(net(), images, adversary=0.1).save(tmp_path / "eval")
    rows = cli("report", tmp_path / "acm", tmp_path / "eval", "--json").json
    assert [row["kind"] for row in rows] == ["acm", "eval"] and "frame" not in rows[0]
    assert rows[1]["robust_accuracy"] == evaluate(net(), images, adversary=0.1).robust_accuracy


def test_a_module_without_weights_is_measured_on_the_cpu(images):
    class Means(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([images.mean((2, 3)), images.amax((2, 3))[:, :1]], 1)

    assert evaluate(Means(), images).n == 42


def test_the_runtime_may_be_given(images):
    plain = evaluate(net(), images)
    bf16 = evaluate(net(), images, runtime=pick("cpu", "bf16"))
    assert (plain.precision, bf16.precision) == ("fp32", "bf16")
    with pytest.raises(RecipeError, match="batch-size is 0"):
        evaluate(net(), images, batch_size=0)
    with pytest.raises(RecipeError, match=r"batch-size is 3.5, expected a whole number"):
        evaluate(net(), images, batch_size=3.5)  # type: ignore[arg-type]
    assert replace(plain, seed=1).accuracy == plain.accuracy
