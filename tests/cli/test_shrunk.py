"""A memory-mapped file that becomes shorter while it is read: one line, and no signal's death."""

import sys

import pytest
from processes import run

from stkit.cli import shrunk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGBUS")

READ = """
import os, sys, torch, numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from stkit.cli import shrunk

torch.set_num_threads(2)
save_file({"x": torch.ones(4000, 1000)}, "f")
with safe_open("f", "pt") as file:
    x = file.get_tensor("x")
shrunk.watch()
shrunk.watch()
os.truncate("f", 4096)
print("sum", flush=True)
how = {
    "threads": lambda: torch.index_select(x, 0, torch.arange(4000)).sum(),
    "numpy": lambda: x.numpy()[np.arange(3999, -1, -1)].sum(),
}[sys.argv[1]]
how()
print("never")
"""


TRAIN = """
import os, sys, threading, time
from pathlib import Path
from stkit.cli import main
from stkit.core import artifact

artifact.LARGE = 0  # so that a small file is mapped, as one beyond it is

def cut():
    while not Path("x.part").exists():
        time.sleep(0.01)
    os.truncate("images", 4096)

threading.Thread(target=cut, daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["threads", "numpy"])
def test_a_file_cut_off_while_it_is_read_is_said(how, tmp_path):
    (tmp_path / "read.py").write_text(READ)
    ended = run("read.py", how, cwd=tmp_path, env={"OMP_NUM_THREADS": "2"})
    assert (ended.code, ended.out, ended.err) == (1, "sum\n", shrunk.LINE.decode())


def test_training_goes_on_when_its_images_are_back(cli, made, tmp_path):
    """Killed by a file that shrank, resumed with the file as it was: the bytes of a whole run."""
    images = (made / "clean.safetensors").read_bytes()
    (tmp_path / "images").write_bytes(images)
    (tmp_path / "train.py").write_text(TRAIN)
    line = f"{tmp_path / 'images'} --frame nt --model small --batch-size 8 --device cpu -q"
    ended = run("train.py", "train", *line.split(), "--epochs", 8, "-o", "x", cwd=tmp_path,
                env={"STKIT_SAVE_EVERY": "0"})  # fmt: skip
    assert (ended.code, ended.out, ended.err) == (1, "", shrunk.LINE.decode())
    (tmp_path / "images").write_bytes(images)
    for more in (("-o", tmp_path / "x", "--resume"), ("-o", tmp_path / "whole")):
        assert cli("train", *line.split(), "--epochs", 8, *more).code == 0
    assert (tmp_path / "x").read_bytes() == (tmp_path / "whole").read_bytes()
