"""On a CPU the number of threads decides the last bits: it is chosen, recorded and taken up again;
and `--deterministic`, which asks the same of a GPU's operations."""

import signal

import pytest
import torch

from stkit.core import artifact, header

TRAIN = "train {made}/clean.safetensors --frame nt --model small --batch-size 8 --device cpu"
EM = (
    "poison em {made}/clean.safetensors --model small --batch-size 8 --steps 1 --model-steps 4 "
    "--max-rounds 1 --device cpu"
)
REM = (
    "poison rem {made}/clean.safetensors --model small --batch-size 8 --steps 1 --model-steps 4 "
    "--eot 1 --adversary-steps 1 --device cpu"
)
LINES = {"train": f"{TRAIN} --epochs 2", "em": EM, "rem": REM}


@pytest.fixture(autouse=True)
def process():
    """What the command line sets for good is as it was for the next test."""
    yield
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def words(name, made) -> list[str]:
    return LINES[name].format(made=made).split()


@pytest.mark.parametrize("name", LINES)
def test_resume_takes_the_threads_that_a_run_was_begun_with(name, cli, made, tmp_path, signalled):
    """Begun with two, gone on with where PyTorch would take one: the bytes of two throughout."""
    line, whole, halves = words(name, made), tmp_path / "whole", tmp_path / "halves"
    torch.set_num_threads(2)
    assert cli(*line, "-q", "-o", whole).code == 0
    with signalled(signal.SIGTERM, 2):
        assert cli(*line, "-q", "-o", halves).code == 143
    part = tmp_path / "halves.part"
    assert header.read(part)["recipe"]["threads"] == 2
    torch.set_num_threads(1)
    found = cli(*line, "-q", "-o", halves, "--resume")
    assert found.code == 0 and torch.get_num_threads() == 2
    note = f"threads: 2, as {part} was begun with; this process would have taken 1\n"
    assert found.err.startswith(note)
    assert halves.read_bytes() == whole.read_bytes()
    torch.set_num_threads(1)  # and what is finished is found to be
    again = cli(*line, "-q", "-o", whole, "--resume")
    assert again.code == 0 and "was finished before" in again.err


@pytest.fixture
def begun(cli, made, tmp_path, signalled):
    """The command of a training that was stopped, on one thread, and what it left."""
    line = (*words("train", made), "-q", "-o", tmp_path / "f")
    with signalled(signal.SIGTERM, 2):
        assert cli(*line).code == 143
    return line, tmp_path / "f.part"


def test_other_threads_than_it_was_begun_with_are_refused(cli, begun):
    line, part = begun
    found = cli(*line, "--resume", "--threads", 2)
    assert found.code == 1 and "recipe.threads was 1, now 2; pass the same ones" in found.err
    assert cli(*line, "--resume", "--threads", 1).code == 0 and not part.exists()


def test_unfinished_work_that_names_no_threads_is_gone_on_with(cli, begun):
    """Of before they were recorded: they are not known."""
    line, part = begun
    head, tensors = artifact.read(part)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    del head["recipe"]["threads"]
    artifact.write(part, tensors, head, replace=True)
    assert cli(*line, "--resume").code == 0
    assert header.read(line[-1])["recipe"]["threads"] == 1


def test_what_a_cpu_has_begun_no_gpu_goes_on_with(cli, begun, monkeypatch):
    """They compute other numbers; a GPU is pretended."""
    line, part = begun
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    line = [word if word != "cpu" else "mps" for word in line]
    found = cli(*line, "--resume")
    assert found.code == 1 and found.err == (
        f"error: {part}: made on a CPU, this computes on mps, where numbers differ; "
        "pass --device cpu, or --force without --resume to start again\n"
    )


def test_threads_of_a_command(cli, made, tmp_path):
    assert cli(*words("train", made), "-o", tmp_path / "f", "--threads", 2, "-q").code == 0
    assert torch.get_num_threads() == 2
    assert header.read(tmp_path / "f")["recipe"]["threads"] == 2
    for command, count in (("eval", 2), ("acm", 1)):
        line = (command, tmp_path / "f", made / "clean.safetensors", "--device", "cpu")
        assert cli(*line, "-q", "--threads", count, "-o", tmp_path / command).code == 0
        assert header.read(tmp_path / command)["recipe"]["threads"] == count


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_a_number_of_threads_out_of_range(count, cli, made, tmp_path):
    found = cli(*words("train", made), "-o", tmp_path / "f", "--threads", count)
    assert (found.code, found.err) == (
        2, f"error: threads is {count}, expected a number from 1 to 1,024\n"
    )  # fmt: skip


def test_fewer_threads_than_are_asked_for(cli, made, tmp_path, monkeypatch):
    """OpenMP would start one and say that they are two."""
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    found = cli(*words("train", made), "-o", tmp_path / "f", "--threads", 2)
    assert found.code == 1 and found.err.count("\n") == 1
    assert "2 threads are asked for, OMP_THREAD_LIMIT is 1" in found.err


@pytest.mark.parametrize("name", LINES)
def test_deterministic_is_taken_on_a_cpu_and_changes_no_byte(name, cli, made, tmp_path):
    line = words(name, made)
    assert cli(*line, "-q", "-o", tmp_path / "plain").code == 0
    assert cli(*line, "-q", "-o", tmp_path / "exact", "--deterministic").code == 0
    assert torch.are_deterministic_algorithms_enabled()
    plain, exact = (header.read(tmp_path / name) for name in ("plain", "exact"))
    assert plain["digest"] == exact["digest"]
    assert exact["recipe"] == plain["recipe"] | {"deterministic": True}


def test_an_operation_that_is_not_deterministic_is_named_in_one_line(
    cli, made, tmp_path, monkeypatch
):
    def step(self):
        places = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
        torch.nn.functional.max_unpool2d(torch.ones(1, 1, 2, 2), places, 2)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    found = cli(*words("train", made), "-o", tmp_path / "f", "--deterministic")
    assert (found.code, found.err) == (1, (
        "error: max_unpooling2d_forward_out has no deterministic implementation here; "
        "leave --deterministic out, or pass another --device\n"
    ))  # fmt: skip
