"""Workers of a bench: one process does many tasks, each as if it had the process for itself."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import PATIENCE, ROOT

from stkit.bench.run import WORKER
from stkit.bench.workers import Worker, Workers

STAND_IN = """
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    word = task["words"][0]
    with open(task["printed"], "w") as file:
        file.write(f"{os.getpid()}")
    if word == "fail":
        raise SystemExit(3)
    if word == "die":
        os.kill(os.getpid(), 9)
    if word == "leave":
        break
    if word == "wait":
        time.sleep(1000)
    os.write(1, b".")
"""


def ended(worker: Worker) -> int:
    """The code that its task ends with."""
    end = time.monotonic() + PATIENCE
    while (code := worker.poll()) is None:
        assert time.monotonic() < end, "it never ended"
        time.sleep(0.005)
    return code


@pytest.fixture
def stand_ins(tmp_path: Path) -> Iterator[Workers]:
    """Two at a time that do nothing but end as their task says."""
    program = (sys.executable, "-S", "-c", STAND_IN)
    workers = Workers(program, 2, environment=os.environ, locks=())
    yield workers
    workers.end()


@pytest.fixture
def do(stand_ins: Workers, tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Do a task to its end; how that ended, and in which process it was."""

    def task(*words: str, device: str = "auto") -> tuple[int, int]:
        printed = tmp_path / "printed"
        code = ended(stand_ins.start(words, device, printed, tmp_path / "log"))
        return code, int(printed.read_text())

    return task


def test_a_worker_does_task_after_task(do) -> None:
    assert do("one") == do("two")


@pytest.mark.parametrize(("how", "code"), [("fail", 3), ("die", -9), ("leave", 0)])
def test_a_worker_that_has_ended_is_followed_by_another(do, how: str, code: int) -> None:
    done, first = do(how)
    assert done == code
    assert do("two")[0] == 0 and do("two")[1] != first


def test_a_worker_that_dies_while_it_waits_is_followed_by_another(do) -> None:
    _, first = do("one")
    os.kill(first, signal.SIGKILL)
    code, second = do("two")
    if code == -signal.SIGKILL:  # it was not yet dead
        code, second = do("two")
    assert code == 0 and second != first


def test_what_a_process_settles_once_has_a_process_of_its_kind(do) -> None:
    """And what was compiled is not added to."""
    plain, other = do("train")[1], do("train", device="cuda:1")[1]
    assert plain != other and do("train")[1] == plain
    exact = do("train", "--deterministic")[1]
    assert exact not in (plain, other) and do("train", "--deterministic")[1] == exact
    compiled = [do("train", "--step=compile")[1] for _ in range(2)]
    assert len({*compiled, exact}) == 3


def test_no_more_workers_than_places_and_none_outlives_its_bench(stand_ins, tmp_path) -> None:
    files = [(tmp_path / name, tmp_path / "log") for name in "abc"]
    busy = stand_ins.start(["wait"], "cuda:0", *files[0])
    ended(stand_ins.start(["one"], "cuda:1", *files[1]))
    ended(stand_ins.start(["one"], "cuda:2", *files[2]))
    pids = [worker.popen.pid for worker in stand_ins.all]
    assert len(pids) == 2 and busy.popen.pid in pids
    busy.terminate()
    assert ended(busy) == -signal.SIGTERM
    stand_ins.end()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# For real


def test_a_task_leaves_nothing_to_the_next(made: Path, tmp_path: Path) -> None:
    """Not its threads, which decide bytes; each has streams of its own. And where the bench was
    killed, a worker ends its task, and then itself."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    worker = Worker(WORKER, (), tmp_path / "log", environment=environment, locks=())

    def take(name: str, *words: object) -> None:
        worker.take([*map(str, words), "--json"], tmp_path / f"{name}.printed", tmp_path / name)

    common = ("train", made / "clean.safetensors", "--model", "small", "--epochs", 1, "--device",
              "cpu")  # fmt: skip
    try:
        take("a", *common, "--frame", "dropout", "--threads", 2, "-o", tmp_path / "a.safetensors")
        assert ended(worker) == 0
        take("b", *common, "--frame", "nt", "--batch-size", 8, "-o", tmp_path / "b.safetensors")
        assert ended(worker) == 0
        take("c", "inspect", made / "nt.safetensors")
        worker.tasks.close()
        worker.answers.close()
        assert worker.popen.wait(PATIENCE) == 0
    finally:
        worker.dismiss()
    assert (tmp_path / "b.safetensors").read_bytes() == (made / "nt.safetensors").read_bytes()
    assert not list(tmp_path.glob("*.lock"))
    assert all("epoch 1/1" in (tmp_path / name).read_text() for name in "ab")
    assert (tmp_path / "c").read_text() == (tmp_path / "log").read_text() == ""
    printed = [json.loads((tmp_path / f"{name}.printed").read_text()) for name in "abc"]
    assert [there["frame"] for there in printed] == ["dropout", "nt", "nt"]
    assert printed[1]["output"] == str(tmp_path / "b.safetensors")
