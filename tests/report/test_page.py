"""The HTML report: whole, self-contained, escaped, sortable in a browser; and the pictures."""

import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from made_up import by_share, cell, write
from processes import PATIENCE

from stkit import load, poison
from stkit.core import header
from stkit.core.errors import DataError
from stkit.recipes.poisons import OPS
from stkit.report import charts, curves, pictures, samples
from stkit.report.result import of_run

VOID = {"meta", "img", "br", "path", "circle", "polyline", "polygon", "use", "input"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


class Reader(HTMLParser):
    """Checks that every element is closed in its turn; keeps attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def made_page(cli, tmp_path):
    def make(*cells: dict, args: tuple = ()) -> str:
        folder, out = write(tmp_path / "results", *cells), tmp_path / "report.html"
        found = cli("report", folder, "--format", "html", "-o", out, "--force", *args)
        assert (found.code, found.out) == (0, f"{out}\n")
        return out.read_text()

    return make


CELLS = (
    cell(0.9), cell(0.8, seed=1), cell(0.2, poison="sp"), cell(0.45, poison="sp", frame="st"),
    cell(0.7, poison="sp", rate=0.5), cell(0.6, poison="ops", frame="st", model="vgg16-bn"),
)  # fmt: skip


def test_why_there_is_no_published_number(made_page):
    text = made_page(cell(0.5, model="small"), args=("--anchors",))
    assert "<p>No published numbers here: none for the model small (there are for" in text


def test_page_is_whole_and_asks_for_nothing(made_page):
    text = made_page(*CELLS, args=("--anchors",))
    page = Reader(text)
    loads = [(t, k, v) for t, k, v in page.attributes if k in ("src", "href", "action", "data")]
    assert loads and all(v.startswith(("#", "data:image/png;base64,")) for _, _, v in loads)
    assert not re.search(r"@import|url\(|<link|fetch\(|XMLHttp|<iframe", text)
    assert "default-src 'none'" in text
    for said in ("85.00 ± 7.07", "45.00 (+25.00)", "ST paper 24.08", "by poison rate", "1@1"):
        assert said in page.text
    assert text.count("<svg") == 6  # accuracy for four sets of images, ACM for two of them
    assert "BridgePure, NeurIPS 2025, Table 1" in page.text and "d-vae" in page.text
    assert "epochs and batch size not stated)" in page.text, "a number stands with its setting"
    assert "No published numbers beside 1 of 5 of these: none for the poison rate" in page.text
    assert "Published numbers" not in Reader(made_page(*CELLS)).text


def test_text_from_files_is_escaped(made_page, tmp_path):
    bad = "<script>alert('x')</script>\"{{body}}&"
    found = cell(0.5, dataset=bad, label=bad, frame="st")
    found["settings"]["poison"]["name"] = found["settings"]["model"] = bad
    found["versions"] = {"stkit": bad, "torch": bad}
    found["name"] = "bad"
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "<b>.json").write_text("{")
    text = made_page(found, cell(0.6))
    page = Reader(text)
    assert text.count("<script>") == 1 and "alert('x')" not in text
    assert "alert('x')</script>\"{{body}}&" in page.text
    assert "Skipped <b>.json: damaged" in page.text
    assert "Made by different versions" in page.text


def test_page_of_checkpoints_and_of_nothing_tested(made_page, cli, made, tmp_path):
    assert Reader(made_page(cell(None))).text.count("training") >= 1
    out = tmp_path / "c.html"
    assert cli("report", made / "nt.safetensors", "--format", "html", "-o", out).code == 0
    assert "All trainings" in Reader(out.read_text()).text


def test_a_page_of_no_trainings(cli, made, tmp_path):
    out = tmp_path / "x.html"
    found = cli("report", made / "ops.safetensors", "--format", "html", "-o", out)
    assert (found.code, found.err.count("\n"), out.exists()) == (1, 1, False)
    assert "found no trainings; pass checkpoints" in found.err


def test_what_the_numbers_say_stands_first(made_page):
    first = made_page(*CELLS).split('id="accuracies"')[0]
    lost = "sp costs natural training 65 points (85.0 % on clean images, 20.0 % on these); st gives"
    lost = lost.replace(" %", "&nbsp;%")
    assert f"<li>resnet18: {lost}" in first and first.count("<li>") == 3


def test_best_and_worst_are_marked_not_by_colour_alone(made_page):
    """Of three frames or more on the same images; what all rows share is no column."""
    frames = [cell(a, poison="sp", frame=f) for a, f in ((0.2, "nt"), (0.5, "st"), (0.4, "jpeg"))]
    text = made_page(cell(0.9), cell(0.8, frame="st"), *frames)
    assert text.count('<td class="number best"') == text.count('<td class="number worst"') == 1
    assert '<span class="unseen">best </span>50.00 (+30.00)' in text
    assert '<span class="unseen">worst </span>20.00' in text
    said = Reader(text).text
    assert "▲ best and ▼ worst of the frames on the same images." in said
    assert "All have data set cifar10; model resnet18; seed 0; epochs 2; tested on test" in said
    summary = text.split('id="accuracies"')[1].split("</section>")[0]
    assert 'th scope="row">st</th>' in summary and "<button>model" not in summary


# Curves

MANY = ("nt", "st", "gray", "jpeg", "bdr", "gauss", "cutout", "mixup", "wd-1e-2")


def test_at_most_six_lines_have_a_colour(made_page):
    """None twice in a block, a frame the same in all; the others are named to be ticked."""
    accuracies = [0.5, 0.4, 0.3, 0.2, 0.1, 0.15, 0.25, 0.35, 0.6]
    few = [cell(0.5, poison="sp", frame=name) for name in ("nt", "cutout", "wd-1e-2")]
    text = made_page(*(cell(a, frame=f) for a, f in zip(accuracies, MANY, strict=True)), *few)
    many, rest = text.split('<div class="curves">')[1:]
    runs = [re.findall(r'<g class="run l\d (c\d)"><title>([^<]+)', block) for block in (many, rest)]
    coloured, others = ({name: colour for colour, name in block} for block in runs)
    assert set(coloured) == {"nt", "wd-1e-2", "st", "gray", "mixup", "cutout"}
    assert len(set(coloured.values())) == 6 and len(set(others.values())) == 3
    assert all(coloured[name] == others[name] for name in ("nt", "wd-1e-2"))
    assert re.findall(r'class="k(\d)"><i></i>([^<]+)', many) == [
        ("3", "jpeg"), ("4", "bdr"), ("5", "gauss"),
    ]  # fmt: skip
    assert "checkbox" not in rest


def test_chart():
    lines = [charts.Line(0, 0, "n > t", [(1, 10.0), (2, 100.0)]), charts.Line(1, 1, "st", [])]
    svg = charts.chart(lines, key="k", title="a < b", x="epoch", y="%", log=False)
    assert svg.count("<polyline") == 1 and "<title>n &gt; t</title>" in svg
    assert 'aria-label="a &lt; b. At the end: n &gt; t 100.0 %"' in svg
    (x1, y1), (x2, y2) = re.findall(r"([\d.]+),([\d.]+)", svg.split('points="')[1].split('"')[0])
    assert float(x2) == charts.WIDTH - charts.RIGHT and float(y2) == charts.TOP
    middle = (charts.LEFT + charts.WIDTH - charts.RIGHT) / 2
    assert float(x1) == middle and float(y1) == pytest.approx(
        charts.HEIGHT - charts.BOTTOM - 0.1 * (charts.HEIGHT - charts.TOP - charts.BOTTOM), abs=0.1
    )
    assert charts.chart([], key="k", title="", x="", y="", log=True) == ""
    assert [charts.whole_step(end) for end in (1, 6, 7, 10, 30, 60, 100)] == [1, 1, 2, 2, 5, 10, 20]


def test_names_at_the_ends_of_lines_are_apart():
    """Also where they need more height than there is, and in rows where they are long."""
    lines = [charts.Line(i, i, f"a-long-name-of-a-frame-{i}", [(1, 50.0)]) for i in range(6)]
    svg = charts.chart(lines, key="k", title="", x="", y="", log=False)
    ends = [tuple(map(float, e)) for e in re.findall(r'data-h="(\d+)" data-at="([\d.]+)"', svg)]
    assert svg.count("<tspan") == 12 and len(ends) == 6
    assert all(b[1] - a[1] >= a[0] - 0.2 for a, b in pairwise(sorted(ends, key=lambda e: e[1])))
    (height,) = re.findall(r'viewBox="0 0 480 ([\d.]+)"', svg)
    assert max(at for _, at in ends) < float(height) - charts.BOTTOM


def test_seeds_are_a_band_and_gamma_a_line():
    points, band = charts.merged([[(1, 10.0), (2, 30.0)], [(1, 20.0)]])
    assert points == [(1, 15.0), (2, 30.0)] and band == ((1, 10.0, 20.0), (2, 30.0, 30.0))
    assert charts.merged([[(1, 1.0)]]) == ([(1, 1.0)], ())
    st, more = of_run("", cell(0.5, frame="st")), of_run("", by_share(cell(0.5, frame="st")))
    assert (curves.thresholds(st), curves.thresholds(more)) == ((2.6e-4,), ())
    assert charts.acm(st) == ([(1.0, 1e-3), (2.0, 1e-3)], [(1.0, 1e-3)]), "by epoch, not by step"
    lines = [
        charts.Line(n, n, name, [(1, 0.1)], band, thresholds=(gamma,), on=on)
        for n, (name, gamma, on) in enumerate(
            (("a", 0.01, True), ("b", 0.01, True), ("c", 0.5, False))
        )
    ]
    svg = charts.chart(lines, key="k", title="", x="", y="", log=True)
    assert svg.count(">gamma 0.01<") == 1 and svg.count("<polygon") == 3
    asked = svg.split('<g class="asked">')[1].split("</g>")[0]
    assert ">gamma 0.5<" in asked, "of a grey line: when it is asked for"


def test_long_and_single_lines():
    points = [(float(i), 1e-3 * i) for i in range(1, 5001)]
    long = charts.Line(0, 0, "st", points, marks=points)
    svg = charts.chart([long], key="k", title="", x="", y="", log=True)
    drawn = svg.split('points="')[1].split('"')[0].split()
    assert len(drawn) <= charts.POINTS + 1 and svg.count("<circle") == charts.POINTS
    single = charts.Line(0, 0, "nt+none,orthogonal", [(1, 1.0)])
    one = charts.chart([single], key="k", title="", x="", y="", log=False)
    assert one.count("<circle") == 1
    assert ">nt+none,</tspan>" in one and ">orthogonal</tspan>" in one, "broken at the comma"


# Images


def test_strips(tmp_path):
    """A strip's PNG holds the pixels of an image of each class."""
    images = load("digits", limit=30)
    images.save(tmp_path / "a.safetensors")
    shown = samples.read([tmp_path / "a.safetensors"])
    assert shown.classes == tuple("0123456789")
    strip = pictures.strip(shown.size, shown.clean.images)
    assert (strip.width, strip.height) == (320, 32)
    rows = [images.index.tolist().index(index) for index in shown.index]
    wanted = images.pixels[rows].permute(2, 0, 3, 1).reshape(-1)
    assert strip.pixels == bytes(wanted.tolist())
    png = b64decode(strip.uri().removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == (320, 32)
    length = struct.unpack(">I", png[33:37])[0]
    raw = zlib.decompress(png[41 : 41 + length])
    assert raw[1:961] == strip.pixels[:960] and len(raw) == 32 * 961


def test_difference():
    """Around mid grey with its sign, by a whole factor; few pixels that changed are listed."""
    clean, noisy = bytes((10, 20, 30) * 100), bytearray((10, 20, 30) * 100)
    noisy[7], noisy[107] = 8, 24  # pixel 7: in red from 20 down, in green from 30 down
    delta = pictures.difference([clean], [bytes(noisy)])
    assert (delta.factor, delta.pixels) == (10, ((7,),))
    assert (delta.images[0][7], delta.images[0][107], delta.images[0][0]) == (8, 68, 128)
    assert pictures.difference([clean], [clean]).factor == 1
    assert pictures.difference([bytes(3)], [b"\xff" * 3]).images == (b"\xff" * 3,)
    many = pictures.difference([bytes(300)], [b"\x01" * 300])
    assert (many.factor, many.pixels) == (127, ((),))


def test_one_changed_pixel_is_seen_in_a_strip():
    """Also of an image of which every fourth pixel is shown."""
    clean, noisy = bytes(3 * 256 * 256), bytearray(3 * 256 * 256)
    noisy[101 * 256 + 255] = 200  # red alone; one that is not shown
    strip = pictures.spots((256, 256), pictures.difference([clean], [bytes(noisy)]))
    assert (strip.width, strip.height) == (64, 64)
    pixels = [strip.pixels[i : i + 3] for i in range(0, len(strip.pixels), 3)]
    assert pixels.count(bytes((228, 128, 128))) == 5 * 3  # at the right edge


def test_rings_are_within_their_image():
    """In the pixels of the strip, of which there are fewer than of a large image."""
    clean, noisy = bytes(3 * 128 * 128), bytearray(3 * 128 * 128)
    noisy[128 * 128 - 1] = 200  # the last corner
    delta = pictures.difference([clean, clean], [clean, bytes(noisy)])
    (ring,) = pictures.rings((128, 128), delta)
    edge = 64 - ring.radius
    assert (ring.x, ring.y) == (pytest.approx(64 + edge), pytest.approx(edge)) and ring.radius > 2
    assert pictures.rings((10, 10), pictures.difference([bytes(300)], [b"\x01" * 300])) == []


def test_images_beside_results_are_shown(made_page, tmp_path):
    images = load("digits", limit=20)
    work = tmp_path / "results" / "work"
    clean = images.save(work / "c.safetensors")
    made = poison(images, OPS()).save(work / "p.safetensors")
    found = cell(0.5, poison="ops", source="digits")
    found["inputs"][0] |= {"digest": made["digest"]}
    found["inputs"][0]["inputs"] = [{**found["inputs"][1], "digest": clean["digest"]}]
    page = Reader(made_page(found))
    shown = [v for tag, key, v in page.attributes if (tag, key) == ("img", "alt")]
    assert shown == ["ops, clean", "ops, as published", "ops, difference"]
    rings = [tag for tag, key, v in page.attributes if (key, v) == ("class", "inner")]
    assert len(rings) == 2 * 10, "around the one pixel of each image, and of its difference"
    (work / "c.safetensors").write_bytes(b"damaged")
    assert "<img" not in made_page(found)
    assert header.read(work / "p.safetensors")["digest"] in pictures.index([tmp_path / "results"])


# A browser

PROBE = """<script>
const table = document.querySelector("#trainings table");
const heads = [...table.tHead.rows[0].cells];
const said = [];
for (const name of ["accuracy, %", "accuracy, %", "poison", "ACM"]) {
  const column = heads.findIndex(head => head.textContent === name);
  heads[column].querySelector("button").click();
  said.push([...table.tBodies[0].rows].map(row => row.cells[column].textContent).join(" "));
}
said.push(table.tHead.querySelectorAll("[aria-sort]").length);
said.push(getComputedStyle(document.body).backgroundColor);
document.body.innerHTML = "<pre id=probe>" + said.join("|") + "</pre>";
</script>"""


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run",
         "--enable-logging=stderr", f"--user-data-dir={profile}", *flags, f"file://{page}"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(made_page, tmp_path, scheme):
    """A click on a head sorts, up and then down, empty cells last; both colour schemes."""
    text = made_page(*CELLS)
    page = tmp_path / "probe.html"
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    dark = ("--blink-settings=preferredColorScheme=0",) if scheme == "dark" else ()
    found = browse(page, tmp_path / "profile", "--dump-dom", *dark)
    assert "CONSOLE" not in found.stderr, found.stderr  # no error, nothing that the policy refused
    said = found.stdout.split('<pre id="probe">')[1].split("</pre>")[0].split("|")
    up, down, poisons, acm, sorted_heads, colour = said
    assert up == "20.00 45.00 60.00 70.00 80.00 90.00"
    assert down == "90.00 80.00 70.00 60.00 45.00 20.00"
    assert poisons == "clean clean ops sp sp sp"
    assert acm.split() == ["0.001", "0.001"] and acm.startswith("0.001")
    assert sorted_heads == "1"
    assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[scheme]


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_numbers_that_are_not_finite_in_a_browser(made_page, tmp_path):
    """inf is above all numbers, nan is last in either order."""
    values = ("nan", 0.5, "inf", 0.001)
    text = made_page(*({**cell(0.5, seed=i), "acm": acm} for i, acm in enumerate(values)))
    page = tmp_path / "probe.html"
    probe = PROBE.replace('"accuracy, %", "accuracy, %", "poison", "ACM"', '"ACM", "ACM"')
    page.write_text(text.replace("</body>", probe + "</body>"))
    found = browse(page, tmp_path / "profile", "--dump-dom").stdout
    up, down, *_ = found.split('<pre id="probe">')[1].split("|")
    assert (up, down) == ("0.001 0.5 inf nan", "inf 0.5 0.001 nan")


LINES = """<script>
const block = document.querySelector(".curves:has(.rest)");
const key = [...block.querySelectorAll(".key")].find(key => key.textContent === "cutout");
const line = [...block.querySelectorAll(".run")].find(run => run.textContent.startsWith("cutout"));
const look = () => [line.querySelector("polyline"), line.querySelector(".end")]
  .map(part => getComputedStyle(part)).map((style, i) => i ? style.visibility : style.stroke);
const said = [block.querySelectorAll("svg .run:not(.rest)").length, ...look()];
key.querySelector("input").click();
said.push(...look());
const told = document.querySelector("#trainings .hint");
document.querySelector("#trainings .wide").style.width = "9rem";
dispatchEvent(new Event("resize"));
said.push(document.querySelector("#accuracies .hint").hidden, told.hidden);
document.body.innerHTML = "<pre id=probe>" + said.join("|") + "</pre>";
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_many_lines_in_a_browser(made_page, tmp_path):
    """A line on request is grey and has no name until it is ticked; a wide table says so."""
    text = made_page(*(cell(0.5, frame=name) for name in MANY))
    page = tmp_path / "probe.html"
    page.write_text(text.replace("</body>", LINES + "</body>"))
    found = browse(page, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" not in found.stderr, found.stderr
    said = found.stdout.split('<pre id="probe">')[1].split("</pre>")[0].split("|")
    assert said == [
        "7", "rgb(195, 202, 209)", "hidden", "rgb(91, 75, 196)", "visible", "true", "false",
    ]  # fmt: skip


# Pictures


def pictured(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


def test_plots_of_trainings(cli, tmp_path):
    pytest.importorskip("matplotlib")
    folder, out = write(tmp_path / "r", *CELLS), tmp_path / "deep" / "curves.png"
    assert cli("plot", "curves", folder, "-o", out).out == f"output  {out}\n"
    assert min(pictured(out)) > 300
    again = cli("plot", "curves", folder, "-o", out)
    assert again.code == 1 and "exists already" in again.err
    assert cli("plot", "curves", folder, "-o", out, "-q", "--force").out == f"{out}\n"


def test_plots_that_cannot_be(cli, made, tmp_path, monkeypatch):
    out = tmp_path / "o.png"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write(tmp_path / "r", cell(0.5))
    absent = cli("plot", "acm", tmp_path / "r", "-o", out)
    assert (absent.code, absent.err.count("\n")) == (1, 1)
    assert "pip install 'matplotlib" in absent.err
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    for args, code, message in (
        (("acm", tmp_path / "r"), 1, "found no acm of penultimate"),
        (("curves", made / "nt.safetensors"), 1, "found no accuracy"),
        (("akm", tmp_path / "r"), 2, "did you mean 'acm'?"),
    ):
        found = cli("plot", *args, "-o", out)
        assert (found.code, found.err.count("\n")) == (code, 1) and message in found.err, found.err
    wrong = cli("plot", "acm", tmp_path / "r", "-o", tmp_path / "o.jpg")
    assert wrong.code == 2 and "ends in .png" in wrong.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("images", {"dtype": "U8", "shape": [1, 3, 10**9, 10**9], "data_offsets": [0, 8]}),
        ("images", {"dtype": "U8", "shape": [1, 3, 0, 0], "data_offsets": [0, 0]}),
        ("images", {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}),
        ("labels", {"dtype": "I64", "shape": [10**12], "data_offsets": [0, 8]}),
        ("labels", {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]}),
        ("labels", {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}),
    ],
)
def test_a_header_that_promises_more_than_there_is(tmp_path, name, about):
    path = tmp_path / "x.safetensors"
    text = json.dumps({name: about, "rest": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}})
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(8))
    with pytest.raises(DataError):
        samples.tensor(path, name, *(("U8", 4) if name == "images" else ("I64", 1)))
