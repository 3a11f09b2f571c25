"""A photograph read as it is seen and written again as PNG: what is kept, dropped and refused."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from stkit.core.errors import ArtifactError, DataError
from stkit.data.exporting import photographs
from stkit.data.pictures import read_image

PROFILE = bytes(16) + b"RGB " + bytes(100)
RNG = np.random.default_rng(0)


def image(mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> Image.Image:
    pixels = RNG.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif() -> Image.Exif:
    made = Image.Exif()
    made.update({Base.Orientation: 6, Base.Make: "Maker"})
    made.get_ifd(IFD.Exif).update({Base.UserComment: b"ASCII\0\0\0hi", Base.MakerNote: b"preview"})
    made.get_ifd(IFD.GPSInfo)[1] = "N"
    return made


@pytest.mark.parametrize("metadata", [False, True])
def test_it_is_turned_upright_and_keeps_what_is_asked_for(metadata, tmp_path):
    image().save(tmp_path / "1.jpg", exif=exif(), icc_profile=PROFILE, comment=b"me")
    photograph = photographs.read(tmp_path / "1.jpg", metadata=metadata)
    assert photograph.pixels.shape == (12, 9, 3)
    photographs.write(photograph, tmp_path / "2.png")
    assert (read_image(tmp_path / "2.png") == read_image(tmp_path / "1.jpg")).all()
    with Image.open(tmp_path / "2.png") as written:
        assert written.info["icc_profile"] == PROFILE and "comment" not in written.info
        found = written.getexif()
        assert Base.Orientation not in found
        assert (found.get(Base.Make) == "Maker") is metadata
        assert dict(found.get_ifd(IFD.GPSInfo)) == ({1: "N"} if metadata else {})
        assert (Base.UserComment in found.get_ifd(IFD.Exif)) is metadata
        assert Base.MakerNote not in found.get_ifd(IFD.Exif)


@pytest.mark.parametrize(
    ("made", "alpha"),
    [
        (image("RGBA"), True),
        (image("LA"), True),
        (image("L"), False),
        (image("RGB").convert("P"), False),
    ],
)
def test_transparency_is_kept(made, alpha, tmp_path):
    made.save(tmp_path / "1.png")
    photographs.write(photographs.read(tmp_path / "1.png"), tmp_path / "2.png")
    with Image.open(tmp_path / "1.png") as first, Image.open(tmp_path / "2.png") as second:
        assert second.mode == ("RGBA" if alpha else "RGB")
        assert (np.asarray(first.convert(second.mode)) == np.asarray(second)).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    image("RGB").convert("P").save(tmp_path / "1.png", transparency=3)
    photograph = photographs.read(tmp_path / "1.png")
    assert photograph.alpha is not None and photograph.pixels.shape == (9, 12, 3)


def test_what_is_stored_otherwise_is_known_before_it_is_decoded(tmp_path):
    deep = Image.fromarray(RNG.integers(0, 65536, (9, 12), dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    image("CMYK").save(tmp_path / "print.jpg")
    image().save(tmp_path / "plain.jpg")
    paths = [tmp_path / name for name in ("deep.png", "print.jpg", "plain.jpg")]
    assert [about.stored for about in photographs.survey(paths)] == ["16-bit", "CMYK", None]
    assert {about.area for about in photographs.survey(paths)} == {108}
    grey = photographs.read(paths[0]).pixels
    assert (grey == (np.asarray(deep) >> 8).astype(np.uint8)[..., None]).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_refused_before_anything_is_written(form, tmp_path):
    path, others = tmp_path / f"1.{form.lower()}", [image() for _ in range(2)]
    image().save(path, form, save_all=True, append_images=others)
    with pytest.raises(DataError, match=r"found 3 frames, expected one picture; save one of them"):
        photographs.survey([path])


def test_a_cameras_second_picture_is_no_animation(tmp_path):
    file = io.BytesIO()
    image().save(file, "MPO", save_all=True, append_images=[image()])
    (tmp_path / "1.jpg").write_bytes(file.getvalue())
    assert photographs.survey([tmp_path / "1.jpg"]) == [photographs.About(108, None)]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths[:2]:
        image().save(path)
    paths[2].write_bytes(b"no image")
    names, areas, out = ["a/0.png", "b/1.png", "b/2.png"], [108] * 3, tmp_path / "out"
    with pytest.raises(DataError, match=r"2.png: unreadable image"):
        photographs.rewrite(paths, names, out, lambda row, pixels: None, areas=areas)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    image().save(paths[2])
    photographs.rewrite(paths, names, out, lambda row, pixels: pixels.fill(row), areas=areas)
    assert [int(read_image(out / name).max()) for name in names] == [0, 1, 2]
    with pytest.raises(ArtifactError, match="out: exists already; pass a new folder as -o"):
        photographs.rewrite(paths, names, out, lambda row, pixels: None, areas=areas)
