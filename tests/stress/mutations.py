"""Recipes drawn at random: which given file, what is done to it, which command reads it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import recipes
from recipes import Op, Recipe

TRAIN = "--model small --batch-size 10"
DATASETS = ("d.safetensors", "sp.safetensors", "f.safetensors")
CHECKPOINTS = ("nt.safetensors", "st.safetensors")
MEASURES = ("e.safetensors", "a.safetensors")
OF_DATASETS = (
    "inspect FILE --json", "inspect FILE", "inspect FILE --clean GIVEN/d.safetensors",
    "inspect GIVEN/sp.safetensors --clean FILE", "report FILE", "data FILE -o HERE/o",
    "data FILE --size 4 --limit 10 -o HERE/o", "export FILE -o HERE/o",
    "export FILE --format npz -o HERE/o", "export FILE --format png -o HERE/o",
    "export FILE --format em --clean GIVEN/d.safetensors -o HERE/o",
    "acm GIVEN/nt.safetensors FILE", "eval GIVEN/nt.safetensors FILE --split train",
    "rate FILE --clean GIVEN/d.safetensors --poison-rate 0.5 -o HERE/o",
    "rate GIVEN/sp.safetensors --clean FILE --poison-rate 0.5 -o HERE/o",
    "import GIVEN/noise.pt --clean FILE -o HERE/o", "poison ops FILE -o HERE/o",
    "poison sp FILE -o HERE/o", f"train FILE --frame nt {TRAIN} --dry-run -o HERE/o",
    f"train GIVEN/d.safetensors --test FILE --frame nt {TRAIN} --dry-run -o HERE/o",
)  # fmt: skip
SELDOM = (
    f"train FILE --frame st {TRAIN} --epochs 1 -o HERE/o",
    f"poison em FILE {TRAIN} --max-rounds 1 --model-steps 1 --steps 1 -o HERE/o",
    "plot poison FILE -o HERE/o.png",
)
OF_CHECKPOINTS = (
    "inspect FILE --json", "inspect FILE", "report FILE", "report FILE --format markdown",
    "report FILE --format json", "report FILE --format csv", "report FILE --format html -o HERE/o",
    "report FILE --layout 1", "eval FILE GIVEN/t.safetensors", "acm FILE GIVEN/d.safetensors",
    "report FILE GIVEN/st.safetensors --anchors",
)  # fmt: skip
OF_MEASURES = (
    "inspect FILE --json",
    "inspect FILE",
    "report FILE",
    "eval FILE GIVEN/d.safetensors",
)
RESUMES = {
    "train.safetensors.part": f"train GIVEN/d.safetensors --frame st {TRAIN} --epochs 2 --resume "
    "-o HERE/train.safetensors",
    "em.safetensors.part": f"poison em GIVEN/d.safetensors {TRAIN} --max-rounds 2 --model-steps 2 "
    "--steps 2 --resume -o HERE/em.safetensors",
    "rem.safetensors.part": f"poison rem GIVEN/d.safetensors {TRAIN} --model-steps 3 --steps 2 "
    "--eot 1 --adversary-steps 2 --resume -o HERE/rem.safetensors",
}
IMPORT = "import FILE --clean GIVEN/d.safetensors -o HERE/o"
FORMATS = ("auto", "em", "pil", "rem", "sp", "ops", "ntga", "png", "npz")
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 255, 256, 1 << 31, -(1 << 31), 1 << 53, 10**17, 0.5, -0.5,
    1e-300, 1e308, "", "a", "0", "nan", "inf", "-inf", "none", "../../canary", "/etc/passwd",
    "=1+1", "@x", "|", "<b>", "a\nb", "\x1b[31m", "\x00", "\u202e", "\ud800", "é", " ", "None",
    [], {}, [[]], [None], [0], [0, 0], [1, 2, 3, 4, 5], [-1], ["a"], {"a": 1}, {"": None}, [[0]],
    "dataset", "checkpoint", "state", "eval", "acm", "em", "rem", "sp", "ops", "st", "nt",
    "resnet18", "small", "timm:resnet18", "train", "test", "float32", "0" * 64, [1 << 40],
    {"raw": "NaN"}, {"raw": "Infinity"}, {"raw": "-Infinity"}, {"raw": "1e400"}, {"raw": "-0"},
    {"raw": "1" + "0" * 30}, {"digits": 19}, {"digits": 5000}, {"deep": 90}, {"deep": 600},
    {"deep": 100_000}, {"long": 100_000}, {"raw": '{"a":1,"a":2}'}, {"raw": "tru"}, {"raw": ""},
)  # fmt: skip


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all that is in a JSON value."""
    found = [path] if path else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = list(enumerate(value))[:6]
    for key, inner in items:
        found += nodes(inner, (*path, key))
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """What is there."""
    for key in path:
        value = value[key]
    return value


def json_op(draw: random.Random, value: Any, prefix: str = "") -> Op:
    """One change of a JSON value."""
    paths = nodes(value)
    depth = draw.choice((1, 1, 2, 3, 9))
    path = draw.choice([p for p in paths if len(p) <= depth] or paths)
    if draw.random() < 0.25:
        return [f"{prefix}del", list(path)]
    if draw.random() < 0.15:
        return [f"{prefix}set", [*path[:-1], "extra"], draw.choice(NASTY)]
    old = at(value, path)
    new = draw.choice(NASTY)
    if draw.random() < 0.4:
        new = draw.choice(_relatives(old) or NASTY)
    elif draw.random() < 0.15:
        new = at(value, draw.choice(paths))
    return [f"{prefix}set", list(path), new]


def _relatives(old: Any) -> tuple[Any, ...]:
    """Values like one that are not it: other types, sizes and signs."""
    if isinstance(old, bool):
        return (not old, str(old), int(old))
    if isinstance(old, (int, float)):
        return (old + 1, old - 1, -old, str(old), [old], float(old), int(old) * 1000, old + 0.5)
    if isinstance(old, str):
        return (old + "x", old[:-1], [old], old.upper(), {old: old}, old * 3)
    if isinstance(old, list):
        return (old[:-1], old * 2, old[::-1], dict(enumerate(map(str, old))), [old], old[:1])
    if isinstance(old, dict):
        return (list(old), {}, [old], {str(v)[:9]: k for k, v in old.items()}, str(old))
    return ()


def byte_op(draw: random.Random, size: int, start: int = 0) -> Op:
    """One change of bytes, mostly near the beginning or the end."""
    place = draw.choice((
        draw.randrange(start, max(start + 1, size)), start + draw.randrange(64),
        max(0, size - 1 - draw.randrange(64)),
    ))  # fmt: skip
    some = bytes(draw.choice((0, 255, 127, 128, draw.randrange(256))) for _ in range(4))
    return draw.choice((
        ["flip", 8 * place + draw.randrange(8)], ["put", place, some.hex()],
        ["put", place, some[:1].hex()], ["cut", place], ["insert", place, some.hex()],
        ["drop", place, draw.choice((1, 4, 64))], ["again", place, 16, draw.choice((1, 9, 9999))],
        ["put", place, b"\xff\xff\xff\x7f".hex()], ["put", place, bytes(8).hex()],
    ))  # fmt: skip


class Mutator:
    """Draws the recipe of each case; what it needs to know of the given files, it reads once."""

    def __init__(self, given: Path) -> None:
        self.given = given
        self.heads: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        for name in (*DATASETS, *CHECKPOINTS, *MEASURES, *RESUMES):
            head, _ = recipes.layout((given / name).read_bytes())
            self.heads[name] = head, json.loads(head["__metadata__"]["stkit"])
        self.results = json.loads((given / "results/0.json").read_text())
        self.grid = (given / "grid.toml").read_text().splitlines()
        self.named = {
            kind: sorted(str(p.relative_to(given)) for p in (given / kind).iterdir())
            for kind in ("pickles", "torch", "images")
        }
        self.readers: dict[str, tuple[int, Callable[[random.Random], Recipe]]] = {
            "header": (30, self.header), "tensors": (14, self.tensors), "part": (4, self.part),
            "pickle": (8, self.pickle), "pt": (6, self.pt), "npy": (7, self.npy),
            "npz": (6, self.npz), "image": (9, self.image), "folder": (4, self.folder),
            "toml": (6, self.toml), "json": (6, self.json), "words": (6, self.words),
        }  # fmt: skip

    def recipe(self, seed: int, number: int) -> Recipe:
        """The recipe of a case."""
        draw = random.Random(f"{seed} {number}")
        names = list(self.readers)
        name = draw.choices(names, [self.readers[n][0] for n in names])[0]
        return {"reader": name, **self.readers[name][1](draw)}

    def size(self, name: str) -> int:
        """Bytes of a given file."""
        return (self.given / name).stat().st_size

    def line(self, draw: random.Random, name: str) -> str:
        """A command that reads such a file."""
        if name in DATASETS:
            return draw.choice(SELDOM if draw.random() < 0.02 else OF_DATASETS)
        if name in CHECKPOINTS:
            return draw.choice(OF_CHECKPOINTS)
        return draw.choice(OF_MEASURES)

    def header(self, draw: random.Random) -> Recipe:
        name = draw.choice((*DATASETS, *CHECKPOINTS, *CHECKPOINTS, *MEASURES))
        _, meta = self.heads[name]
        ops = [json_op(draw, meta) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
        ops += [["seal"]] * (draw.random() < 0.8)
        return {"seed": name, "ops": ops, "line": self.line(draw, name)}

    def tensors(self, draw: random.Random) -> Recipe:
        name = draw.choice((*DATASETS, *CHECKPOINTS, *MEASURES))
        head, _ = self.heads[name]
        tensors = {key: value for key, value in head.items() if key != "__metadata__"}
        if draw.random() < 0.5:
            ops = [json_op(draw, tensors, "layout-") for _ in range(draw.choice((1, 1, 2)))]
            ops += [["seal"]] * (draw.random() < 0.6)
        elif draw.random() < 0.05:
            ops = [["hole", draw.choice((1, 1 << 20, 1 << 33))]]
        else:
            ops = [byte_op(draw, self.size(name)) for _ in range(draw.choice((1, 1, 3)))]
            ops += [["seal"]] * (draw.random() < 0.5)
        return {"seed": name, "ops": ops, "line": self.line(draw, name)}

    def part(self, draw: random.Random) -> Recipe:
        name = draw.choice(list(RESUMES))
        head, meta = self.heads[name]
        if draw.random() < 0.6:
            ops = [json_op(draw, meta)]
        elif draw.random() < 0.5:
            tensors = {key: value for key, value in head.items() if key != "__metadata__"}
            ops = [json_op(draw, tensors, "layout-")]
        else:
            ops = [byte_op(draw, self.size(name))]
        ops += [["seal"]] * (draw.random() < 0.7)
        return {"seed": name, "ops": ops, "line": RESUMES[name]}

    def _foreign(self, draw: random.Random, name: str, formats: tuple[str, ...]) -> Recipe:
        ops = [byte_op(draw, self.size(name)) for _ in range(draw.choice((0, 1, 1, 2, 4)))]
        if draw.random() < 0.02:
            ops.append(["hole", draw.choice((1 << 20, 1 << 33))])
        return {
            "seed": name, "ops": ops, "line": f"{IMPORT} --format {draw.choice(formats)}",
            "as": draw.choice(("noise.pt", "noise.pkl", "x.npy", Path(name).name)),
        }  # fmt: skip

    def pickle(self, draw: random.Random) -> Recipe:
        name = draw.choice(("noise.pkl", *self.named["pickles"], *self.named["pickles"]))
        return self._foreign(draw, name, ("auto", "rem", *FORMATS))

    def pt(self, draw: random.Random) -> Recipe:
        return self._foreign(
            draw, draw.choice(("noise.pt", *self.named["torch"])), ("auto", "em", "pil")
        )

    def npy(self, draw: random.Random) -> Recipe:
        name = draw.choice(("noise.npy", "order.npy", "labels.npy", "huge.npy"))
        found = self._foreign(draw, name, ("auto", "sp", "ntga", "ops"))
        if name == "labels.npy":
            found["line"] = IMPORT.replace("FILE", "GIVEN/noise.npy") + " --format sp --labels FILE"
        else:
            found["line"] += draw.choice(("", " --labels GIVEN/labels.npy"))
        if draw.random() < 0.5 and not found["ops"]:
            found["ops"] = [["put", 10 + draw.randrange(100), draw.randbytes(3).hex()]]
        return found

    def npz(self, draw: random.Random) -> Recipe:
        name = draw.choice(("images.npz", "packed.npz", "huge.npz", "text.npz"))
        return self._foreign(draw, name, ("auto", "npz"))

    def image(self, draw: random.Random) -> Recipe:
        name = draw.choice(self.named["images"])
        ops = [byte_op(draw, self.size(name)) for _ in range(draw.choice((0, 1, 1, 2, 4)))]
        ending = draw.choice((Path(name).suffix, Path(name).suffix, ".png", ".jpg", ".gif"))
        if draw.random() < 0.2:
            rest = {f"png/{i}.png": f"png/{i}.png" for i in range(20) if i != 7}
            return {
                "seed": name, "ops": ops, "as": "png/7.png", "copies": rest,
                "line": "import HERE/png --clean GIVEN/d.safetensors -o HERE/o",
            }  # fmt: skip
        return {
            "seed": name, "ops": ops, "as": f"photos/a/x{ending}",
            "copies": {"images/x.png": "photos/b/y.png"},
            "line": "data HERE/photos -o HERE/o" + draw.choice(("", " --size 8", " --limit 1")),
        }  # fmt: skip

    def folder(self, draw: random.Random) -> Recipe:
        places = [
            "photos/a/x.png", "photos/b/z.png", "photos/a", "photos/c", "photos/c/q.jpg", "photos",
            "photos/a/" + "n" * 200 + ".png", "photos/a/é\n.png", "photos/a/=1.png", "photos/train",
            "photos/train/a/x.png", "photos/a/\x1b[31m.png", "results/0.json", "grid.toml",
            "x.safetensors", "x.pt", "labels.npy", "o", "o.tmp", "o.part",
        ]  # fmt: skip
        ops: list[Op] = []
        for _ in range(draw.randrange(1, 6)):
            place = draw.choice(places)
            kind = draw.choice(("file", "dir", "pipe", "socket", "link", "device", "closed"))
            seeds = ("images/x.png", "images/x.jpg", "d.safetensors", "images/script.png")
            more = {
                "file": [draw.choice(seeds)],
                "link": [
                    draw.choice(
                        (
                            "x.png",
                            ".",
                            "..",
                            "/nowhere",
                            Path(place).name,
                            "../b/y.png",
                            "/etc/passwd",
                        )
                    )
                ],
            }
            ops.append([kind, place, *more.get(kind, [])])
        line = draw.choice((
            "data HERE/photos -o HERE/o", "data HERE/photos -o HERE/o --force --size 8",
            "data HERE/photos --split test -o HERE/o", "inspect HERE/x.safetensors",
            "import HERE/x.pt --clean GIVEN/d.safetensors -o HERE/o", "report HERE/results",
            "import GIVEN/noise.npy --format sp --labels HERE/labels.npy --clean "
            "GIVEN/d.safetensors -o HERE/o", "bench HERE/grid.toml --dry-run", "report HERE/photos",
            "import HERE/photos/a --clean GIVEN/d.safetensors -o HERE/o",
            "data HERE/x.safetensors -o HERE/o --force", "eval HERE/x.safetensors HERE/photos",
            "export GIVEN/sp.safetensors -o HERE/o", "inspect HERE/photos",
            "data HERE/o -o HERE/o2",
        ))  # fmt: skip
        return {
            "seed": "images/x.png", "ops": ops, "as": "photos/a/first.png", "line": line,
            "copies": {"images/x.png": "photos/b/y.png"},
        }  # fmt: skip

    def toml(self, draw: random.Random) -> Recipe:
        ops: list[Op] = []
        for _ in range(draw.choice((1, 1, 2, 3))):
            number = draw.randrange(len(self.grid))
            key = self.grid[number].partition("=")[0]
            value = draw.choice((
                "1", "-1", "0", "1e400", "nan", "inf", "-inf", "true", '""', '"x"', "[]", "[[]]",
                "{}", "[1, 'a']", "1979-05-27", "07:32:00", "9" * 19, "9" * 5000, "0x" + "f" * 40,
                "[" * 90 + "]" * 90, "[" * 5000 + "]" * 5000, '"' + "x" * 99999 + '"', '"../../x"',
                '"\\u0000"', '"=1"', "[1e400]", '["nt", "nt"]', '["no-such"]', "[0.0]", "[-1, 2]",
                '"timm:resnet18"', '{a = 1}', "0.1", "[true]", '"1/0"', '"8/255"', '"each"', "",
                '"GIVEN"', "1_000_000", '["clean"]', '"cuda:99"', "1.5", '"nan"', "100000000",
            ))  # fmt: skip
            ops.append(draw.choice((
                ["line", number, f"{key}= {value}"], ["line", number, f"{key}= {value}"],
                ["line", number, f"{draw.choice(KEYS)} = {value}"], ["line", number, ""],
                ["line", number, f"[{key.strip(' []')}]"], ["line", number, f"[[{value[:50]}]]"],
                ["line", number, self.grid[draw.randrange(len(self.grid))]],
                byte_op(draw, sum(map(len, self.grid))),
            )))  # fmt: skip
        if draw.random() < 0.02:
            ops = [["hole", draw.choice((1 << 20, 1 << 33))]]
        return {"seed": "grid.toml", "ops": ops, "line": "bench FILE --dry-run -o HERE/o"}

    def json(self, draw: random.Random) -> Recipe:
        if draw.random() < 0.8:
            ops = [json_op(draw, self.results, "json-") for _ in range(draw.choice((1, 1, 2)))]
        elif draw.random() < 0.1:
            ops = [["text", draw.choice(({"deep": 100_000}, {"digits": 9999}, "", "[]", "null", "1",
                                         "\ufeff{}", '"a"', "{", "[" * 99))]]  # fmt: skip
        else:
            ops = [byte_op(draw, self.size("results/0.json"))]
        return {
            "seed": "results/0.json", "as": "r/0.json", "ops": ops,
            "copies": {"results/1.json": "r/1.json", "results/2.json": "r/2.json"},
            "line": "report HERE/r" + draw.choice((
                "", " --json", " --format csv", " --format markdown", " --format json",
                " --layout 1", " --layout 2", " --layout 4", " --layout 7", " --layout 8 --anchors",
                " --format html -o HERE/o", " --layout 1 --measure best", " --anchors",
                " --layout 1 --format csv", " --measure holdout",
            )),
        }  # fmt: skip

    def words(self, draw: random.Random) -> Recipe:
        return {"seed": "images/x.png", "as": "x.png", "ops": [], "words": _words(draw)}


KEYS = (
    "seeds", "rates", "models", "poisons", "frames", "keep", "poison-seed", "epochs", "batch-size",
    "source", "test", "limit", "size", "holdout", "name", "lr", "device", "force", "resume", "json",
    "__class__", '""', '"a.b"', "a.b.c", "gamma", "output", "o", "seed", "frame", "method",
)  # fmt: skip
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("data",): ("--split", "--size", "--limit", "--holdout", "--part", "--seed"),
    ("inspect",): ("--clean", "--split"),
    ("rate",): ("--clean", "--poison-rate", "--split"),
    ("import",): ("--clean", "--format", "--scope", "--sign", "--rounding", "--epsilon", "--labels",
                  "--seed", "--split"),
    ("export",): ("--format", "--clean", "--split"),
    ("train", "--dry-run"): (
        "--frame", "--model", "--test", "--epochs", "--batch-size", "--lr", "--fine-tune-epochs",
        "--fine-tune-lr", "--indicator", "--gamma", "--beta", "--acm-variant", "--check-every",
        "--restore", "--gate", "--adversary", "--augment", "--jitter", "--weight-decay",
        "--holdout", "--purified", "--mean", "--std", "--seed", "--split", "--device",
        "--precision", "--step", "--resume"),
    ("acm",): ("--variant", "--per-class", "--split", "--device"),
    ("eval",): ("--split", "--adversary", "--device", "--batch-size"),
    ("bench", "--dry-run"): ("--work", "--source", "--only", "--jobs", "--devices", "--time-limit"),
    ("report",): ("--format", "--layout", "--measure", "--anchors"),
    ("list",): (), ("env",): (), ("plot",): (), (): ("--version", "--help"),
    ("rerun",): ("--check",),
    ("poison", "em", "--dry-run"): (
        "--scope", "--epsilon", "--step-size", "--steps", "--model-steps", "--batch-size",
        "--stop-error", "--weight-decay", "--max-rounds", "--sign", "--rounding", "--model", "--lr",
        "--momentum", "--clip", "--seed", "--poison-rate", "--device", "--precision", "--step"),
    ("poison", "rem", "--dry-run"): (
        "--epsilon", "--eot", "--adversary", "--adversary-steps", "--model-steps", "--fast",
        "--lr-decay-every", "--augment", "--poison-rate"),
    ("poison", "sp"): ("--epsilon", "--bound", "--patch", "--rounding", "--seed", "--poison-rate"),
    ("poison", "ops"): ("--objective", "--pixels", "--seed", "--poison-rate"),
}  # fmt: skip
SOURCES = (
    "GIVEN/d.safetensors", "GIVEN/sp.safetensors", "GIVEN/nt.safetensors", "GIVEN/e.safetensors",
    "GIVEN/photos", "GIVEN/noise.pt", "GIVEN/noise.npy", "GIVEN/grid.toml", "GIVEN/results",
    "GIVEN", "HERE", "HERE/x.png", "/nowhere", "", ".", "digit", "accuracy", "models", "no\nfile",
    "\x1b[1m", "-", "--", "é", "\udcff", "n" * 300, "a\x00b", "GIVEN/d.safetensors/x", "~",
)  # fmt: skip
VALUES = (
    "0", "1", "-1", "2", "3", "7", "10", "255", "256", "1e9", "1e-9", "0.5", "-0.5", "nan", "inf",
    "-inf", "1e400", "1/0", "0/0", "8/255", "-8/255", "1/3", "9" * 19, "9" * 5000, "0x10", "1_0",
    "", " ", "a", "auto", "all", "none", "nt", "st", "st-full", "at", "small", "resnet18",
    "timm:nope", "cpu", "cuda", "cuda:99", "mps", "fp32", "bf16", "train", "test", "epoch",
    "0,0,0", "1,1,1",
    "1,2", "nan,1,1", "crop,flip", "cg", "jpeg-10", "jpeg-0", "bdr-9", "mixup,cutmix", "class",
    "sample", "floor", "nearest", "positive", "l2", "linf", "code", "paper", "folder", "em", "npz",
    "png", "auto,auto", "GIVEN/d.safetensors", "GIVEN/labels.npy", "HERE", "/nowhere", "*", "[",
    "\x00", "\udcff", "\n", "é", "1" + "0" * 400, "1e5000", "\u0661", "²", "True", "None", "{}",
)  # fmt: skip
LIGHT = {"--model": ("small", "small", "", "nope", "timm:nope", "resnet18", "9", "\x00", "Small")}
"""Options of which not every value is tried: some of timm's nets are large."""


def _words(draw: random.Random) -> list[str]:
    """A command line of odd values."""
    command = draw.choice(list(COMMANDS))
    words = list(command)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3))):
        good = 0.7 if command[:1] not in (("list",), ("plot",)) else 0.2
        words.append(
            draw.choice(SOURCES[:5]) if draw.random() < good else draw.choice(SOURCES)
        )  # fmt: skip
    if command[:1] == ("train",) and draw.random() < 0.9:
        words += ["--frame", draw.choice(("nt", "at", "st", "st-full", "mixup", "nt-stop"))]
    if command[:1] in (("data",), ("train",), ("poison",), ("rate",), ("import",), ("export",)):
        outs = ("HERE/o", "HERE/o", "HERE/o", "HERE/x.png", "HERE", "HERE/a/b")
        words += ["-o", draw.choice(outs)]
    if "--dry-run" in command and command[0] != "bench" and draw.random() < 0.8:
        words += ["--model", "small"]
    if command[:1] in (("rate",), ("import",)) and draw.random() < 0.9:
        words += ["--clean", "GIVEN/d.safetensors"]
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        options = COMMANDS[command]
        if not options or draw.random() < 0.03:
            options = ("--no-such", "-x", "--json", "-q", "--help", "--force", "--", "-o")
        option = draw.choice(options)
        words.append(option)
        if draw.random() < 0.95:
            words.append(draw.choice(LIGHT.get(option, VALUES)))
    return words
