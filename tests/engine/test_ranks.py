"""Two ranks (gloo, on the CPU) against one; ranks that die, that are stopped, that do not agree."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

import pytest
import torch
from gpus import pretend
from processes import PATIENCE, ROOT, Ended, run
from ranked import Start
from torch.distributed import TCPStore

from stkit import load
from stkit.cli import saving
from stkit.core import artifact, header
from stkit.core.errors import DeviceError, RankError, RecipeError
from stkit.engine import ranks
from stkit.engine.process import configure
from stkit.engine.runtime import Runtime, pick

HERE = Path(__file__).parent
SIDE = 20  # the smaller, the faster; on 16 the small net ends in one value a channel
SMALL = "--model small --device cpu"
TRAIN = f"{SMALL} --epochs 2 --batch-size 16 --test test.safetensors"
COMMANDS = {
    "st": f"train clean.safetensors --frame st --gamma 1.5 --check-every 2 {TRAIN} --sync-bn "
    "--keep 1",
    "at": f"train clean.safetensors --frame at {TRAIN} --holdout 10 --sync-bn",
    "full": f"train clean.safetensors --frame st-full {TRAIN} --sync-bn",
    "timm": f"train clean.safetensors --frame nt {TRAIN} --sync-bn --model timm:test_efficientnet",
    "share": f"train more.safetensors --frame st --indicator purified --holdout 100 --gamma 1 "
    f"--check-every 2 {TRAIN} --sync-bn",
    "auto": f"train more.safetensors --frame auto --holdout 100 {TRAIN} --sync-bn",
    "apart": f"train clean.safetensors --frame nt {TRAIN}",
    "frozen": f"train clean.safetensors --frame nt {TRAIN} --sync-bn --seed 1 --init-from apart-1 "
    "--init-layers layer1,layer2 --freeze",
    "em": f"poison em clean.safetensors {SMALL} --batch-size 27 --model-steps 7 --steps 2 "
    "--max-rounds 2 --stop-error 0 --sync-bn",
    "em-class": f"poison em clean.safetensors --scope class {SMALL} --batch-size 15 "
    "--model-steps 3 --max-rounds 2 --stop-error 0 --sync-bn",
    "rem": f"poison rem clean.safetensors {SMALL} --batch-size 16 --model-steps 3 --steps 2 "
    "--adversary-steps 2 --eot 2 --sync-bn",
}  # fmt: skip
"""81 images: batches of 16 leave a single one over, which both ranks then compute, 27 is odd."""


@dataclass(frozen=True)
class Rank:
    """A rank under way. out, err: files of what it says."""

    pid: int
    out: Path
    err: Path


class Running:
    """Ranks that are started together. The server is a process of ranked.py."""

    def __init__(self, server: Popen[str], starts: list[Start]) -> None:
        self.server = server
        self.codes: dict[int, int] = {}
        assert server.stdin is not None
        server.stdin.write(json.dumps(starts) + "\n")
        server.stdin.flush()
        files = [(Path(start.out), Path(start.err)) for start in starts]
        self.ranks = [
            Rank(int(pid), *of) for pid, of in zip(self._line().split(), files, strict=True)
        ]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to those that are not known to have ended."""
        for rank in self.ranks:
            if rank.pid not in self.codes:
                with suppress(ProcessLookupError):
                    os.kill(rank.pid, number)

    def _line(self) -> str:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, "what starts the ranks has ended"
        return line

    def ended(self) -> list[Ended]:
        """Wait for all, and say what they left behind."""
        while len(self.codes) < len(self.ranks):
            pid, code = map(int, self._line().split())
            self.codes[pid] = code
        return [Ended(self.codes[r.pid], r.out.read_text(), r.err.read_text()) for r in self.ranks]


@cache
def server() -> Popen[str]:
    """What ranks are forked from; `_one_server` ends it."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return Popen(
        [sys.executable, HERE / "ranked.py"], env=env, text=True, stdin=PIPE, stdout=PIPE,
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_server() -> Iterator[None]:
    yield
    if server.cache_info().currsize:
        server().communicate()  # no more lines: it ends
        server.cache_clear()


@contextmanager
def start(
    count: int,
    *commands: str,
    folders: list[Path],
    options: tuple[str, ...] = (),
    dies: tuple[int, int] | None = None,
) -> Iterator[Running]:
    """So many ranks, each in a folder of its own or all in the first. None outlives the block.

    dies: a rank, and the step at which it ends. As under torchrun the stores that ranks meet at are
    not theirs: each has a port that was free when it was opened.
    """
    stores = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in commands]
    ports = ",".join(str(store.port) for store in stores)
    base = {
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    with TemporaryDirectory() as said:
        starts = []
        for rank in range(count):
            own = ("--die-at", str(dies[1])) if dies and dies[0] == rank else ()
            words = [ports, *options, *own, *commands]
            env = base | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            out, err = Path(said, f"out-{rank}"), Path(said, f"err-{rank}")
            out.touch()
            err.touch()
            cwd = folders[rank % len(folders)]
            starts.append(Start(words, env, str(cwd), str(out), str(err)))
        running = Running(server(), starts)
        alarm = Timer(PATIENCE, running.kill)
        alarm.start()
        try:
            yield running
        finally:
            alarm.cancel()
            running.kill()
            running.ended()
    del stores


def ran(count: int, *commands: str, **how: Any) -> list[Ended]:
    """What so many ranks left behind; see `start`."""
    with start(count, *commands, **how) as running:
        return running.ended()


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with 81 training images and 30 test images."""
    folder = tmp_path_factory.mktemp("ranks")
    load("digits", limit=81, size=SIDE).save(folder / "clean.safetensors")
    load("digits", limit=148, size=SIDE).save(folder / "more.safetensors")
    load("digits", "test", limit=30, size=SIDE).save(folder / "test.safetensors")
    return folder


@pytest.fixture(scope="module")
def both(work) -> dict[int, Ended]:
    """What one rank and rank 0 of two left, in float64: files NAME-1 and NAME-2."""
    found = {}
    for count in (1, 2):
        commands = [f"{line} -q -o {name}-{count}" for name, line in COMMANDS.items()]
        commands += [
            f"acm st-{count} clean.safetensors --per-class 4 --device cpu --json",
            f"eval st-{count} test.safetensors --batch-size 7 --adversary 4/255 --device cpu "
            "--json",
        ]  # fmt: skip
        ranks = ran(count, *commands, folders=[work])
        assert [code for code, _, _ in ranks] == [0] * count, ranks
        assert all(out == "" for _, out, _ in ranks[1:]), "only rank 0 speaks"
        found[count] = ranks[0]
    return found


@pytest.mark.parametrize("name", ["st", "at", "full", "share", "auto", "timm", "frozen"])
def test_training_on_two_ranks_is_training_on_one(name, work, both):
    """Weights to 1e-9; the same verdicts, stages, accuracies, and losses to 1e-9."""
    (one, weights), (two, others) = (artifact.read(work / f"{name}-{n}") for n in (1, 2))
    for key, value in weights.items():
        assert torch.allclose(value.double(), others[key].double(), rtol=1e-9, atol=1e-9), key
    for a, b in zip(one["records"], two["records"], strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"loss", "checks"}:
            assert a[key] == b[key], key
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
        for c, d in zip(a.get("checks", []), b.get("checks", []), strict=True):
            assert c.get("acm", {}) == pytest.approx(d.get("acm", {}), rel=1e-4)
            assert {**c, "acm": 0} == {**d, "acm": 0}
    assert two["recipe"]["ranks"] == 2 and two["recipe"]["sync_bn"] is True
    assert "ranks" not in one["recipe"]


def test_pilots_on_two_ranks_come_to_what_they_come_to_on_one(work, both):
    one, two = (header.read(work / f"auto-{n}")["chosen"] for n in (1, 2))
    assert one["pilots"] and one == two


def test_what_is_frozen_stays_on_two_ranks(work, both):
    """Under DDP, and BatchNorm over both."""
    (_, before), (_, after) = (artifact.read(work / name) for name in ("apart-1", "frozen-2"))
    held = {name for name, value in after.items() if torch.equal(value, before[name])}
    blocks = {name for name in after if name.startswith(("layer1.", "layer2."))}
    assert blocks == {name for name in held if not name.endswith("tracked")} | (blocks & held)


def test_the_compared_run_kept_and_rolled_back(work, both):
    checks = [c for r in header.read(work / "st-1")["records"] for c in r.get("checks", [])]
    assert {check["verdict"] for check in checks} == {"keep", "roll back"}


def test_an_epoch_on_the_way_is_kept_by_two_ranks_as_by_one(work, both):
    (one, weights), (two, others) = (artifact.read(work / f"st-{n}.epoch-1") for n in (1, 2))
    assert one["kept"] == two["kept"] == {"epoch": 1, "epochs": 2}
    for key, value in weights.items():
        assert torch.allclose(value.double(), others[key].double(), rtol=1e-9, atol=1e-9), key


def test_without_sync_bn_each_rank_has_its_own_statistics_and_says_so(work, both):
    (one, weights), (two, others) = (artifact.read(work / f"apart-{n}") for n in (1, 2))
    assert two["recipe"]["ranks"] == 2 and two["recipe"]["sync_bn"] is False
    assert len(one["records"]) == len(two["records"]) == 2
    assert not torch.equal(weights["bn1.running_var"], others["bn1.running_var"])


@pytest.mark.parametrize("name", ["em", "em-class", "rem"])
def test_poisoning_on_two_ranks_is_poisoning_on_one(name, work, both):
    """Every pixel of every image, and the error of every round."""
    (one, data), (two, other) = (artifact.read(work / f"{name}-{n}") for n in (1, 2))
    clean = load(work / "clean.safetensors").pixels
    assert torch.equal(data["images"], other["images"]) and torch.equal(
        data["labels"], other["labels"]
    )
    assert (data["images"] != clean).any(dim=(1, 2, 3)).all(), "every image is poisoned"
    for key, value in one["statistics"].items():
        assert two["statistics"][key] == pytest.approx(value, rel=1e-12), key


def test_acm_and_eval_add_up_over_ranks(both):
    one, two = ([json.loads(line) for line in both[n].out.splitlines()[-2:]] for n in (1, 2))
    assert one[0]["acm"] == pytest.approx(two[0]["acm"], rel=1e-5)
    assert one[1] == two[1] and one[1]["n"] == 30 and one[1]["robust_accuracy"] is not None


def test_tensors_go_out_in_one_message_for_each_type(work):
    """Seven of three types, bit for bit: no number, a large one, other layouts, a parameter."""
    ended = ran(2, "--broadcast", folders=[work])
    assert [code for code, _, _ in ended] == [0, 0], ended
    first, second = (json.loads(out) for _, out, _ in ended)
    assert first == second and first["messages"] == 3
    assert first["large"] == list((2**62 + 1).to_bytes(8, "little"))


def test_a_rank_that_dies_ends_the_run_with_an_error(work):
    line = f"train clean.safetensors --frame nt {TRAIN} -o dead.safetensors"
    first, second = ran(2, line, folders=[work], options=("--float32",), dies=(1, 3))
    assert second[0] == 7
    assert first[0] == 1, first
    assert "error: another rank ended" in first[2] and "Traceback" not in first[2]
    assert not (work / "dead.safetensors").exists()


def test_the_others_speak_when_rank_0_dies(work):
    line = f"train clean.safetensors --frame nt {TRAIN} -o dead.safetensors"
    first, second = ran(2, line, folders=[work], options=("--float32",), dies=(0, 3))
    assert (first[0], second[0]) == (7, 1)
    assert "error: rank 1: another rank ended" in second[2] and "Traceback" not in second[2]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"train clean.safetensors --frame nt {TRAIN} --seed @", 1, "different options"),
        ("poison em clean.safetensors --model small --device cpu --max-rounds 1@", 1,
         "different options"),
        (f"train clean.safetensors --frame nt {TRAIN} --model timm:resnet_18", 2, "timm"),
        (f"train clean.safetensors --frame nt {TRAIN} --batch-size 3", 2, "two images a rank"),
        ("eval st-1 clean.safetensors --device cpu --batch-size 1@", 1, "different options"),
    ],
)  # fmt: skip
def test_what_is_wrong_on_all_ranks_is_said_once(line, code, said, work, both):
    first, second = ran(2, f"{line} -o x.safetensors", folders=[work])
    assert (first[0], second[0]) == (code, code)
    assert said in first[2] and first[2].count("error:") == 1 and second[2] == ""
    assert not (work / "x.safetensors").exists()


@pytest.mark.parametrize("name", ["st", "em", "rem"])
def test_ranks_judge_by_the_same_statistics_without_sync_bn(name, work, tmp_path):
    line = COMMANDS[name].replace(" --sync-bn", "").replace("clean.saf", f"{work}/clean.saf")
    line = line.replace("test.saf", f"{work}/test.saf")
    ranks = ran(2, f"{line} -q -o x", folders=[tmp_path], options=("--buffers",))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, other = (set((tmp_path / f"buffers-{n}").read_text().splitlines()) for n in (0, 1))
    assert len(other) > 1 and other <= one  # rank 0 also takes what cannot be cut up


def test_ranks_with_different_files_say_so_once(work, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    load("digits", limit=60, size=SIDE).save(other / "clean.safetensors")
    load("digits", "test", limit=30, size=SIDE).save(other / "test.safetensors")
    line = f"train clean.safetensors --frame nt {TRAIN} -o x.safetensors"
    first, second = ran(2, line, folders=[work, other], options=("--float32",))
    assert first[0] == second[0] == 1
    assert "ranks 0 and 1 have different images in clean.safetensors" in first[2]
    assert first[2].count("error:") == 1 and second[2] == ""
    (other / "clean.safetensors").unlink()
    first, second = ran(2, line, folders=[work, other], options=("--float32",))
    assert first[0] == second[0] == 1
    assert "error: rank 1: clean.safetensors: no such" in first[2] and second[2] == ""


STOPS = {"st": 5, "em": 7}
"""Trained steps of the first epoch or round. Ranks meet after 1, 3, 7 and 15 steps at the latest,
those that make noise counted too: soon enough to stop in the second."""


@pytest.mark.parametrize("name", STOPS)
def test_stopped_ranks_resume_to_the_same_bytes(name, work):
    """SIGTERM reaches every rank, as from torchrun, when the first epoch or round is over; the
    state is saved whole, and gone on with."""
    # so little noise that the error never is 0, which would end it before the signal comes
    line = COMMANDS[name].replace("--stop-error 0", "--stop-error 0 --step-size 1e-4 --lr 1e-4")
    line += f" -o {name}-stopped --force"
    stopped = ran(2, line, folders=[work], options=("--float32", "--stop-at", str(STOPS[name])))
    assert [code for code, _, _ in stopped] == [143, 143], stopped
    assert (work / f"{name}-stopped.part").exists() and stopped[1][2] == ""
    again = f"{line} --resume"
    whole = line.replace("stopped", "whole")
    ranks = ran(2, again, whole, folders=[work], options=("--float32",))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    assert (work / f"{name}-stopped").read_bytes() == (work / f"{name}-whole").read_bytes()
    assert not (work / f"{name}-stopped.part").exists()
    head = header.read(work / f"{name}-whole")
    if name == "em":  # long enough, and not in vain
        assert head["statistics"]["rounds"] == 2 and head["statistics"]["linf"] > 0


def test_ranks_meet_often_enough_where_steps_differ():
    assert saving.meet_after(1, 0.0001) == 2, "one quick step, and slow ones may follow"
    assert saving.meet_after(100, saving.MEET_EVERY) == 100
    assert saving.meet_after(100, 10 * saving.MEET_EVERY) == 10
    assert saving.meet_after(3, 60.0) == 1
    wait = 1
    for _ in range(9):
        wait = saving.meet_after(wait, wait * saving.MEET_EVERY / 300)
    assert wait == 300
    for _ in range(2000):  # of one rank, which looks after every step
        wait = saving.meet_after(wait, 1e-5)
    assert wait == 1000


def test_torchrun_is_all_it_takes(work):
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "stkit")
    line = f"train clean.safetensors --frame nt {TRAIN} --json -o torchrun.safetensors"
    found = run(*command, *shlex.split(line), cwd=work)
    assert found.code == 0, found.err
    assert json.loads(found.out)["epochs"] == 2
    assert header.read(work / "torchrun.safetensors")["recipe"]["ranks"] == 2


def test_more_ranks_than_gpus(monkeypatch):
    pretend(monkeypatch, 2)
    for key, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0",
                       "LOCAL_WORLD_SIZE": "4"}.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    with pytest.raises(DeviceError, match=r"4 ranks on a machine with 2 GPU.*--nproc-per-node 2"):
        pick("auto")
    with pytest.raises(RecipeError, match="one device"):
        pick("cuda:1")


@pytest.mark.parametrize(("device", "backends"), [("cuda", "cpu:gloo,cuda:nccl"), ("cpu", "gloo")])
def test_ranks_on_gpus_can_also_exchange_what_is_not_on_a_gpu(device, backends, monkeypatch):
    """torch's own choice has only the accelerator's backend, and ranks agree on CPU tensors."""
    asked = []
    pretend(monkeypatch, 2 * (device == "cuda"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda b, **_: asked.append(b))
    monkeypatch.setattr(Runtime, "gathered", lambda self, value: [value, value])
    for key, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
                       "LOCAL_WORLD_SIZE": "2"}.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    found = pick(device, "fp32")
    configure(found)
    assert asked == [backends] and found.rank == 1 and found.device.type == device


def test_parts_cover_a_batch_once():
    for world in (1, 2, 3, 8):
        ranks = [Runtime(torch.device("cpu"), "fp32", rank, world) for rank in range(world)]
        for count in (1, 5, 16, 17):
            rows = [list(range(count))[rank.owned(count)] for rank in ranks]
            assert list(chain(*rows)) == list(range(count)), (world, count)
            parts = [list(range(count))[rank.part(count)] for rank in ranks]
            totals = [rank.total(count) for rank in ranks]
            shares = [len(part) / total for part, total in zip(parts, totals, strict=True)]
            assert sum(shares) == pytest.approx(1)
    with pytest.raises(RecipeError, match="batch-size is 3 for 2 ranks"):
        Runtime(torch.device("cpu"), "fp32", 0, 2).check_batch(3)


@dataclass(frozen=True)
class Second(Runtime):
    """Rank 1 of two, and what rank 0 has to say."""

    first_says: object = None

    def gathered(self, value: Any) -> list[Any]:
        return [self.first_says, value]


def test_what_one_rank_fails_in_all_fail_in():
    told = Second(torch.device("cpu"), "fp32", 1, 2, first_says=("DataError", "no file"))
    with pytest.raises(RankError, match=r"^no file$"), told.together():
        pass
    other = Second(torch.device("cpu"), "fp32", 1, 2)
    with pytest.raises(RankError, match=r"^rank 1: too few$") as failed, other.together():
        raise RecipeError("too few")
    assert failed.value.code == 2
    assert not ranks.lost_rank(RuntimeError("shapes do not match"))


def test_the_name_of_what_computes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"X{device.index}00")
    cpu = torch.device("cpu")
    assert Runtime(cpu, "fp32").machine == f"cpu, {torch.get_num_threads()} threads"
    assert Runtime(cpu, "fp32", threads=3).machine == "cpu, 3 threads"
    assert Runtime(torch.device("cuda:1"), "bf16").machine == "X100"
    assert Runtime(torch.device("cuda:1"), "bf16", 0, 4).machine == "4 x X100"
    assert Runtime(torch.device("mps"), "fp32").machine == "mps"
