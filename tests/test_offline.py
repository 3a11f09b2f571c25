"""No network but `data` for the two CIFARs, whose files are known by checksum, and `--pretrained`.

conftest.py has `offline.forbid` hold for all tests of this suite; what is here goes further.
"""

import pickle
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import offline
import processes
import pytest
from torchvision import datasets

from stkit.data import sources

SMALL = "--device cpu --batch-size 20"
PIPELINE = (
    "data digits --limit 60 -o clean",
    "data digits --split test --limit 40 -o test",
    "poison sp clean -o sp",
    f"poison em clean -o em --model small {SMALL} --max-rounds 1 --model-steps 2 --steps 1",
    f"train sp -o st --model small {SMALL} --frame st --epochs 1 --test test",
    f"train em -o at --model small {SMALL} --frame at --epochs 1",
    "acm st sp -o acm --device cpu",
    "eval at test -o eval --device cpu",
    "report st at --format csv",
    "plot curves st -o curve.png",
    "export sp --format png -o tree",
    "import tree --clean clean -o back",
    "inspect back --clean clean",
)
"""From images to pictures. That timm's models ask for nothing is seen wherever a test makes one."""
APART = ("unshare", "--map-root-user", "--net")
"""Runs a command where there is no network at all, whatever language asks for one."""


def apart() -> tuple[str, ...]:
    """APART, where the system has it and lets us."""
    if not shutil.which(APART[0]):
        return ()
    tried = subprocess.run([*APART, "true"], capture_output=True)
    return APART if tried.returncode == 0 else ()


def test_a_pipeline_needs_no_network_and_no_compiler(tmp_path):
    """torch._dynamo takes 2.3 s to import, which every process that trains would pay."""
    become = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    program = Path(offline.__file__).resolve()
    ended = processes.run(
        "-c", become, *apart(), sys.executable, program, *" , ".join(PIPELINE).split(),
        cwd=tmp_path, env={"MPLCONFIGDIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "imported:"


def test_what_asks_for_another_machine_is_refused_and_noted():
    """In this very process, as in all tests; loopback is left."""
    with pytest.raises(OSError, match="no network in tests"):
        urllib.request.urlopen("https://example.com")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asker:
        with pytest.raises(OSError, match="no network in tests"):
            asker.connect(("192.0.2.1", 9))
        asker.connect(("127.0.0.1", 9))
    assert offline.taken() == [
        "socket.getaddrinfo 'example.com'", "socket.connect '192.0.2.1'",
    ]  # fmt: skip


class Forged:
    """A pickle that leaves a file behind when somebody opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_files_that_are_not_cifars_are_not_unpickled(name, cli, tmp_path):
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder, ran = tmp_path / kind.base_folder, tmp_path / "ran"
    folder.mkdir()
    for file, _ in [*kind.train_list, *kind.test_list, (kind.meta["filename"], "")]:
        (folder / file).write_bytes(pickle.dumps(Forged(ran)))
    (tmp_path / kind.filename).write_bytes(b"an archive")
    ended = cli("data", name, "--data-root", tmp_path, "-o", tmp_path / "x")
    assert ended.code == 1 and ended.err.count("\n") == 1
    assert f"{name}: the files in {folder} are others or damaged, by their MD5, and" in ended.err
    assert "no network in tests" in ended.err
    assert not ran.exists() and offline.taken()
    pickle.loads(pickle.dumps(Forged(ran)))
    assert ran.exists(), "but they would have run"


def test_a_server_that_says_nothing_is_given_up(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SILENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.tar.gz"
        monkeypatch.setattr(datasets.CIFAR10, "url", address)
        ended = cli("data", "cifar10", "--data-root", tmp_path, "-o", tmp_path / "x")
    assert ended.code == 1 and ended.err.count("\n") == 1
    assert f"cifar10: not in {tmp_path} and the download failed (" in ended.err
    assert "timed out" in ended.err and socket.getdefaulttimeout() is None
