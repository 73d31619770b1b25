"""Input: valid and invalid files and arrays."""
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pillow_heif
import pytest
import sklearn
from conftest import ROOT
from PIL import Image, ImageCms, PngImagePlugin

import helpers
import imagefiles

HOPPER = ROOT / "Media" / "grace_hopper.jpg"


# ------------------------------------------------------------------ read_image

def test_colours_are_bgr(tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 10)).save(tmp_path / "red.png")
    assert helpers.read_image(tmp_path / "red.png")[0, 0].tolist() == [10, 0, 255]


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "after them"])
def test_a_png_is_turned_wherever_its_exif_chunk_stands(behind, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32)).save(buffer, "PNG", exif=exif)
    data = buffer.getvalue()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start:start + 4], "big")
    chunk, rest = data[start:end], data[:start] + data[end:]
    tail = rest.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(rest[:tail] + chunk + rest[tail:] if behind else data)
    assert helpers.read_image(tmp_path / "a.png").shape == (64, 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phone_pictures_are_turned_upright(orientation, tmp_path, pictures):
    """Store the pixels as the tag says, then read them back: the same box (within 2 pixels) and the same label."""
    undo = {1: [], 2: [Image.FLIP_LEFT_RIGHT], 3: [Image.ROTATE_180], 4: [Image.FLIP_TOP_BOTTOM],
            5: [Image.TRANSPOSE], 6: [Image.ROTATE_90], 7: [Image.TRANSVERSE], 8: [Image.ROTATE_270]}
    upright = Image.open(HOPPER)
    stored = upright
    for turn in undo[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image = helpers.read_image(tmp_path / "phone.jpg")
    assert image.shape == (600, 512, 3)
    helpers.init_emotion()
    (face,), (expected,) = helpers.detect_emotions(image), helpers.detect_emotions(pictures["grace_hopper"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 2
    assert face["label"] == expected["label"]


@pytest.mark.parametrize("folder", ["Привет", "café au lait", "two words", "smile 😀"])
def test_any_folder_name(folder, tmp_path):
    (tmp_path / folder).mkdir()
    copy = tmp_path / folder / "grace é.jpg"
    copy.write_bytes(HOPPER.read_bytes())
    assert np.array_equal(helpers.read_image(copy), helpers.read_image(HOPPER))
    model = tmp_path / folder / "network é.onnx"
    model.write_bytes(helpers.MODEL_PATH.read_bytes())
    helpers.load_network(model)


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "me.jpg").write_bytes(HOPPER.read_bytes())
    assert helpers.read_image("~/me.jpg").shape == (600, 512, 3)


def test_missing_file_names_the_whole_path_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        helpers.read_image("nobody.jpg")
    assert str(tmp_path / "nobody.jpg") in str(caught.value) and "current folder" in str(caught.value)


@pytest.mark.parametrize("path, error, words", [
    (None, TypeError, "not None"), (7, TypeError, "not an int"), (["a.jpg", "b.jpg"], TypeError, "not a list"),
    ("", ValueError, "the path is empty"), (ROOT / "Media", ValueError, "is a folder"),
    ("https://example.org/face.jpg", ValueError, "download the picture first"),
    ("a\0.jpg", FileNotFoundError, "can't be the path of a picture"), ("a" * 5000, FileNotFoundError, "can't be the path of a picture"),
    ("~nosuchuser/face.jpg", FileNotFoundError, "can't be the path of a picture")])
def test_what_is_not_a_path(path, error, words):
    with pytest.raises(error, match=words):
        helpers.read_image(path)


def test_empty_text_and_cut_files_each_have_their_message(tmp_path):
    whole = HOPPER.read_bytes()
    png = cv2.imencode(".png", helpers.read_image(HOPPER))[1].tobytes()
    for name, data, words in [("empty.jpg", b"", "empty file"), ("text.jpg", b"hello, I am text", "not a picture"),
                              ("cut.jpg", whole[:len(whole) // 2], "can't be read completely"),
                              ("cut.png", png[:len(png) // 2], "can't be read completely"),
                              ("page.png", b"<!DOCTYPE html><p>404", "not a picture")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=words):
            helpers.read_image(tmp_path / name)


def test_hidden_colours_under_transparency_are_not_seen(tmp_path, pictures):
    hidden = np.dstack([pictures["obama"], np.zeros(pictures["obama"].shape[:2], np.uint8)])
    cv2.imwrite(str(tmp_path / "hidden.png"), hidden)
    image = helpers.read_image(tmp_path / "hidden.png")
    assert image.min() == 255 and helpers.detect_faces(image) == []
    assert helpers.detect_faces(hidden) == []


def test_16_bit_png_becomes_8_bit(tmp_path, pictures):
    cv2.imwrite(str(tmp_path / "deep.png"), pictures["obama"].astype(np.uint16) * 257)
    assert np.abs(helpers.read_image(tmp_path / "deep.png").astype(int) - pictures["obama"]).max() <= 1


def test_grey_and_palette_files(tmp_path):
    Image.open(HOPPER).convert("L").save(tmp_path / "grey.png")
    Image.open(HOPPER).convert("P").save(tmp_path / "palette.gif")
    assert helpers.read_image(tmp_path / "grey.png").shape == (600, 512, 3)
    assert helpers.read_image(tmp_path / "palette.gif").shape == (600, 512, 3)

# ------------------------------------------------------------------ kinds of image files

def read(path):
    """Read an image; return it with the text of its warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        image = helpers.read_image(path)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.writeable
    assert all(one.category is imagefiles.ImageWarning and str(path) in str(one.message) for one in heard), heard
    return image, " ".join(str(one.message) for one in heard)


def write(path, data):
    path.write_bytes(bytes(data))
    return path


def encoded(picture, kind, **options):
    """The bytes of a Pillow picture as a file."""
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def quadrants():
    """One colour per quarter, so that every rotation and reflection shows: RGB, 96 rows, 128 columns."""
    rgb = np.zeros((96, 128, 3), np.uint8)
    rgb[:48, :64], rgb[:48, 64:], rgb[48:, :64], rgb[48:, 64:] = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)
    return rgb


def assert_upright(image):
    expected = quadrants()[..., ::-1].astype(int)
    assert image.shape == expected.shape
    for y in (24, 72):
        for x in (32, 96):
            assert np.abs(image[y, x] - expected[y, x]).max() <= 16, (y, x, image[y, x])


def stored_as(orientation):
    """The quarters as a camera stores them together with this orientation."""
    undo = {1: [], 2: [Image.FLIP_LEFT_RIGHT], 3: [Image.ROTATE_180], 4: [Image.FLIP_TOP_BOTTOM], 5: [Image.TRANSPOSE],
            6: [Image.ROTATE_90], 7: [Image.TRANSVERSE], 8: [Image.ROTATE_270]}
    picture = Image.fromarray(quadrants())
    for turn in undo[orientation]:
        picture = picture.transpose(turn)
    return picture


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(data, *chunks):
    """A PNG file with more chunks before its pixels."""
    start = data.index(b"IDAT") - 4
    return data[:start] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[start:]


def tiff(samples, order="<", **tags):
    """The bytes of an uncompressed TIFF file: samples (H, W) or (H, W, C), or bytes if they are packed."""
    height, width, *depth = tags.pop("shape", samples.shape if isinstance(samples, np.ndarray) else ())
    pixels = samples.astype(samples.dtype.newbyteorder(order)).tobytes() if isinstance(samples, np.ndarray) else samples
    channels = depth[0] if depth else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind] if isinstance(samples, np.ndarray) else 1
    bits = tags.pop("bits", samples.dtype.itemsize * 8 if isinstance(samples, np.ndarray) else 8)
    photometric = tags.pop("photometric", 1 if channels < 3 else 2)
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 273: [0],
               277: [channels], 278: [height], 279: [len(pixels)], 339: [kind] * channels,
               **{int(name[1:]): value for name, value in tags.items()}}
    extra, table = b"", b""
    begin = 8 + 2 + 12 * len(entries) + 4
    long_ones = sum(2 * len(value) for value in entries.values() if len(value) > 2)
    entries[273] = [begin + long_ones]
    for tag, value in sorted(entries.items()):
        code, letter = (4, "I") if tag in (256, 257, 273, 278, 279) else (3, "H")
        content = struct.pack(f"{order}{len(value)}{letter}", *value)
        if len(content) > 4:
            content, extra = struct.pack(f"{order}I", begin + len(extra)), extra + content
        table += struct.pack(f"{order}HHI", tag, code, len(value)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + table + struct.pack(f"{order}I", 0) + extra + pixels


# ------------------------------------------------------------------ more than 8 bits

@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("name, grey", [
    ("a.png", True), ("a.png", False), ("a.tif", True), ("a.tif", False), ("a.pgm", True), ("a.ppm", False), ("a.jp2", True),
    ("a.jp2", False), ("uncompressed.tif", False), ("motorola.tif", True)])
def test_deep_files_are_scaled_by_the_bits_that_they_use(name, grey, bits, tmp_path, pictures):
    """A picture that uses 10, 12, 14 or 16 bits of a 16-bit file looks as it does in 8 bits."""
    flat = cv2.cvtColor(pictures["obama"], cv2.COLOR_BGR2GRAY) if grey else pictures["obama"]
    small = cv2.resize(flat, (90, 110), interpolation=cv2.INTER_NEAREST)
    small[0, 0] = 255
    deep = np.round(small * ((2 ** bits - 1) / 255)).astype(np.uint16)
    if name == "uncompressed.tif":
        data = tiff(deep[..., ::-1])
    elif name == "motorola.tif":
        data = tiff(deep, ">")
    else:
        data = cv2.imencode(Path(name).suffix, deep, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    image, notice = read(write(tmp_path / name, data))
    expected = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if grey else small
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert (f"read as {bits}-bit" in notice) if bits < 16 else not notice


def test_the_face_in_a_12_bit_picture_is_found(tmp_path, pictures):
    """8-bit values times 16, as scientific and industrial cameras store 12 bits; the upper 8 of 16 bits are black."""
    cv2.imwrite(str(tmp_path / "shifted.png"), pictures["obama"].astype(np.uint16) * 16)
    image, notice = read(tmp_path / "shifted.png")
    assert np.abs(image.astype(int) - pictures["obama"]).max() <= 1 and "4095 is white" in notice
    helpers.init_emotion()
    (face,), (expected,) = helpers.detect_emotions(image), helpers.detect_emotions(pictures["obama"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 2 and face["label"] == expected["label"]


def test_8_bit_values_in_a_16_bit_file_stay_as_they_are(tmp_path, pictures):
    cv2.imwrite(str(tmp_path / "low.png"), pictures["clip_sad"].astype(np.uint16))
    image, notice = read(tmp_path / "low.png")
    assert np.array_equal(image, pictures["clip_sad"]) and "read as 8-bit" in notice


@pytest.mark.parametrize("stretch", [lambda dark: dark * 257, lambda dark: dark << 8], ids=["times 257", "shifted by 8"])
def test_a_dark_8_bit_picture_stretched_to_16_bits_stays_dark(stretch, tmp_path, pictures):
    dark = pictures["clip_sad"] // 8
    cv2.imwrite(str(tmp_path / "dark.png"), stretch(dark.astype(np.uint16)))
    image, notice = read(tmp_path / "dark.png")
    assert np.array_equal(image, dark) and not notice


def test_a_declared_range_is_used_and_nothing_is_guessed(tmp_path):
    """1000 of 4095 is dark grey, although 10 bits would do for it."""
    values = np.full((4, 6), 1000, ">u2")
    image, notice = read(write(tmp_path / "a.pgm", b"P5 # a comment\n6 4\n4095\n" + values.tobytes()))
    assert (image == 62).all() and not notice
    image, notice = read(write(tmp_path / "a.ppm", b"P6\n2 4\n4095\n" + values.tobytes()))
    assert (image == 62).all() and not notice
    image, notice = read(write(tmp_path / "b.pgm", b"P5\n6 4\n15\n" + bytes([5] * 24)))
    assert (image == 85).all() and not notice
    packed = b"".join(bytes([1000 >> 4, (1000 & 15) << 4 | 1000 >> 8, 1000 & 255]) for _ in range(12))
    image, notice = read(write(tmp_path / "packed.tif", tiff(packed, shape=(4, 6), bits=12)))
    assert (image == 62).all() and not notice


def test_a_long_comment_in_a_header_is_skipped(tmp_path):
    image = helpers.read_image(write(tmp_path / "a.ppm", b"P6\n#" + b"c" * 5000 + b"\n4 4\n255\n" + bytes(range(48))))
    assert image[0, 0].tolist() == [2, 1, 0] and image.shape == (4, 4, 3)


@pytest.mark.parametrize("header", [b"P6\n4 4\nwhite\n", b"P6\n4 4\n", b"P5\n#"])
def test_a_header_that_makes_no_sense_is_an_error_with_the_files_name(header, tmp_path):
    with pytest.raises(ValueError, match="a.ppm"):
        helpers.read_image(write(tmp_path / "a.ppm", header + bytes(48)))


def test_transparency_in_deep_files(tmp_path):
    """Opaque, half transparent and fully transparent columns, in 16 and in 12 bits; colours under alpha 0 are not seen."""
    for white in (65535, 4095):
        for opaque in {white, 65535}:
            deep = np.zeros((8, 3, 4), np.uint16)
            deep[..., 2], deep[0, 0, :3] = white, white          # red in BGR
            deep[:, 0, 3], deep[:, 1, 3] = opaque, opaque // 2
            cv2.imwrite(str(tmp_path / "a.png"), deep)
            for file in (tmp_path / "a.png", write(tmp_path / "a.tif", tiff(deep[..., [2, 1, 0, 3]], t338=[2]))):
                image, _ = read(file)
                assert image[1, 0].tolist() == [0, 0, 255]
                assert np.abs(image[1, 1].astype(int) - [128, 128, 255]).max() <= 1
                assert image[1, 2].tolist() == [255, 255, 255]
    grey = png_with(cv2.imencode(".png", np.uint16([[300, 65535, 40000]]))[1].tobytes(), (b"tRNS", struct.pack(">H", 300)))
    assert read(write(tmp_path / "key.png", grey))[0][0, :, 0].tolist() == [255, 255, 156]
    colour = png_with(cv2.imencode(".png", np.uint16([[[1, 2, 3], [65535, 0, 0]]]))[1].tobytes(),
                      (b"tRNS", struct.pack(">HHH", 3, 2, 1)))
    assert read(write(tmp_path / "key.png", colour))[0].tolist() == [[[255, 255, 255], [255, 0, 0]]]
    multiplied = np.uint16([[[32768, 0, 0, 32768], [65535, 65535, 65535, 65535]]])             # half transparent pure red
    image, _ = read(write(tmp_path / "multiplied.tif", tiff(multiplied, t338=[1])))
    assert np.abs(image[0, 0].astype(int) - [127, 127, 255]).max() <= 1


def test_deep_tiffs_in_which_zero_is_white(tmp_path):
    image, _ = read(write(tmp_path / "a.tif", tiff(np.uint16([[0, 65535, 16384]]), photometric=0)))
    assert image[0, :, 0].tolist() == [255, 0, 191]


@pytest.mark.parametrize("samples, words", [
    (np.full((4, 5), 0.5, np.float32), "floating-point"), (np.full((4, 5, 3), 0.5, np.float32), "floating-point"),
    (np.full((4, 5), 0.5, np.float16), "floating-point"), (np.full((4, 5, 3), 0.5), "floating-point"),
    (np.full((4, 5), -7, np.int16), "pixels from -7 to -7"), (np.full((4, 5), 70000, np.uint32), "to 70000, which are not"),
    (np.full((4, 5, 2), 70, np.uint16), "save it there as JPEG or PNG")])
def test_samples_that_are_not_grey_levels_are_refused(samples, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        helpers.read_image(write(tmp_path / "a.tif", tiff(samples)))


def test_other_files_of_light_intensities_are_refused(tmp_path):
    Image.fromarray(np.full((4, 5), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="floating-point"):
        helpers.read_image(tmp_path / "f.tif")
    radiance = cv2.imencode(".hdr", np.full((4, 5, 3), 0.5, np.float32))[1]
    for name, words in [("a.hdr", "tone-map"), ("a.jpg", "floating-point")]:
        with pytest.raises(ValueError, match=words):
            helpers.read_image(write(tmp_path / name, radiance))


def test_a_12_bit_jpeg_is_refused_by_name(tmp_path):
    data = bytearray(HOPPER.read_bytes())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ValueError, match="JPEG with 12 bits per sample.*save it with 8 bits"):
        helpers.read_image(write(tmp_path / "deep.jpg", data))


def test_the_advice_for_deep_arrays_holds_for_any_depth(pictures):
    deep = pictures["obama"].astype(np.uint16) * 16
    with pytest.raises(ValueError, match=r"4095 for 12 bits or 65535 for 16: \(image / 4095 \* 255\)") as caught:
        helpers.detect_faces(deep)
    image = eval(str(caught.value).split(": ")[-1], {"image": deep})       # the advice as it is printed
    assert np.abs(image.astype(int) - pictures["obama"]).max() <= 1


# ------------------------------------------------------------------ turned

@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind, options", [
    ("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {}), ("HEIF", {}), ("MPO", {})])
def test_every_container_is_turned_upright(kind, options, orientation, tmp_path):
    """AVIF files carry the container's rotation. HEIC is tried with it, and with nothing but the Exif tag."""
    picture = stored_as(orientation)
    tags = [exif(orientation).tobytes()] + [exif(orientation)] * (kind == "HEIF")
    for number, tag in enumerate(tags):
        data = encoded(picture, kind, exif=tag, **options)
        if kind in ("AVIF", "HEIF") and orientation > 1:
            assert (b"irot" in data or b"imir" in data) == (number == 0)
        image, notice = read(write(tmp_path / f"{number}.bin", data))
        assert_upright(image)
        assert not notice


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_files_are_turned_upright(orientation, tmp_path):
    deep = np.asarray(stored_as(orientation)).astype(np.uint16) * 257
    plain = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    turned = png_with(plain, (b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0")))
    assert_upright(read(write(tmp_path / "a.png", turned))[0])
    assert_upright(read(write(tmp_path / "a.tif", tiff(deep, t274=[orientation])))[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_exif_tag_only_if_its_container_turns_nothing(orientation, tmp_path):
    """OpenCV writes the tag, and for some orientations the rotation as well: don't turn the picture twice."""
    stored = np.asarray(stored_as(orientation))[..., ::-1]
    tag = np.frombuffer(exif(orientation).tobytes().removeprefix(b"Exif\0\0"), np.uint8)
    data = cv2.imencodeWithMetadata(".avif", stored, [cv2.IMAGE_METADATA_EXIF], [tag])[1]
    assert_upright(read(write(tmp_path / "a.avif", data))[0])


def test_orientations_that_viewers_pass_over(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = Image.fromarray(quadrants())
    for kind, options in [("JPEG", {"xmp": xmp}), ("WEBP", {"xmp": xmp}), ("JPEG", {"exif": exif(0)}),
                          ("JPEG", {"exif": exif(9)}), ("JPEG", {"exif": b"Exif\0\0" + b"\xde\xad" * 50}),
                          ("PNG", {"exif": b"Exif\0\0MM"})]:
        assert_upright(read(write(tmp_path / "a.bin", encoded(picture, kind, **options)))[0])


# ------------------------------------------------------------------ transparent, and other modes

@pytest.mark.parametrize("kind, options", [
    ("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {}), ("TIFF", {}), ("TGA", {}), ("AVIF", {}), ("HEIF", {}),
    ("JPEG2000", {}), ("QOI", {}), ("GIF", {})])
def test_transparent_pixels_are_blended_onto_white(kind, options, tmp_path):
    """Left half: opaque dark blue. Right half: transparent, over a hidden red."""
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[:, :48], rgba[:, 48:] = (0, 0, 120, 255), (200, 0, 0, 0)
    image, notice = read(write(tmp_path / f"a.{kind.lower()}", encoded(Image.fromarray(rgba), kind, **options)))
    assert np.abs(image[32, 20].astype(int) - [120, 0, 0]).max() <= 12 and image[32, 80].min() >= 250 and not notice


def test_half_transparent_pixels_and_palettes(tmp_path):
    half = Image.new("RGBA", (4, 4), (200, 100, 0, 128))
    for kind, mode in [("PNG", "RGBA"), ("TIFF", "RGBA"), ("PNG", "LA")]:
        image, _ = read(write(tmp_path / "a.bin", encoded(half.convert(mode), kind)))
        grey = half.convert("L").getpixel((0, 0))
        expected = [round((value * 128 + 255 * 127) / 255) for value in ((0, 100, 200) if mode == "RGBA" else [grey] * 3)]
        assert np.abs(image[0, 0].astype(int) - expected).max() <= 1
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.putdata([0, 1, 2])
    expected = [[[30, 20, 10], [255, 255, 255], [90, 80, 70]]]
    assert read(write(tmp_path / "a.png", encoded(palette, "PNG", transparency=1)))[0].tolist() == expected
    assert read(write(tmp_path / "a.gif", encoded(palette, "GIF", transparency=1)))[0].tolist() == expected
    several = encoded(palette, "PNG", transparency=bytes([255, 0, 128]))
    assert read(write(tmp_path / "a.png", several))[0].tolist() == [[[30, 20, 10], [255, 255, 255], [172, 167, 162]]]
    for mode, colour in [("L", 9), ("RGB", (9, 8, 7))]:
        data = encoded(Image.new(mode, (2, 2), colour), "PNG", transparency=colour)
        assert (read(write(tmp_path / "a.png", data))[0] == 255).all()


@pytest.mark.parametrize("kind, mode, options, tolerance", [
    ("JPEG", "CMYK", {"quality": 100}, 3), ("TIFF", "CMYK", {}, 1), ("TIFF", "YCbCr", {}, 2), ("TIFF", "LAB", {}, 12),
    ("PNG", "P", {}, 0), ("BMP", "P", {}, 0), ("PCX", "P", {}, 0),
    ("TIFF", "RGB", {"compression": "jpeg", "quality": 100}, 3)])
def test_colour_modes(kind, mode, options, tolerance, tmp_path):
    picture = Image.new("RGB", (32, 32), (200, 100, 50))
    if mode == "LAB":
        rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, rgb, lab, outputMode="LAB")
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    image, notice = read(write(tmp_path / "a.bin", encoded(picture, kind, **options)))
    assert np.abs(image.astype(int) - [50, 100, 200]).max() <= tolerance and not notice


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_black_and_white_and_grey(kind, tmp_path):
    picture = Image.new("1", (9, 5))
    picture.putpixel((3, 2), 1)
    image, _ = read(write(tmp_path / "a.bin", encoded(picture, kind)))
    assert image[2, 3].tolist() == [255] * 3 and image.sum() == 765
    image, _ = read(write(tmp_path / "a.bin", encoded(Image.new("L", (9, 5), 77), kind)))
    assert (image == 77).all()


def test_cmyk_colours_are_converted_with_their_profile(tmp_path):
    """A profile in which every ink is grey: cyan then comes out grey, too."""
    grey, straight = bytes([137, 128, 128]), bytes(range(256))
    lut = (b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
           + straight * 4 + grey * 16 + straight * 3)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    content = {b"A2B0": lut, b"desc": text.ljust(96, b"\0"), b"cprt": b"text" + bytes(4) + b"none",
               b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)}
    table, body, start = struct.pack(">I", len(content)), b"", 128 + 4 + 12 * len(content)
    for name, value in content.items():
        value = value.ljust(-len(value) % 4 + len(value), b"\0")
        table, body = table + name + struct.pack(">II", start + len(body), len(value)), body + value
    profile = (struct.pack(">I", start + len(body)) + bytes(4) + b"\2\x20\0\0prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28)
               + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    for kind, tolerance in [("JPEG", 3), ("TIFF", 0)]:
        for plain in ({}, {"icc_profile": b"broken"}):
            image, notice = read(write(tmp_path / "a.bin", encoded(cyan, kind, **plain)))
            assert np.abs(image.astype(int) - [255, 255, 0]).max() <= tolerance and not notice
        image, notice = read(write(tmp_path / "a.bin", encoded(cyan, kind, icc_profile=profile)))
        assert np.ptp(image) <= tolerance and 20 < image[0, 0, 0] < 200 and not notice


def test_jpeg_pixels_are_those_of_opencv():
    """Boxes and labels that the notebooks show depend on them."""
    for path in sorted((ROOT / "Media").glob("*.jpg")):
        image, notice = read(path)
        assert np.array_equal(image, cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)) and not notice


# ------------------------------------------------------------------ several frames

@pytest.mark.parametrize("kind, advice", [
    ("GIF", "use video.Reader"), ("PNG", "use video.Reader"), ("WEBP", "save it as GIF or MP4 and use video.Reader"),
    ("AVIF", "save it as GIF or MP4 and use video.Reader"), ("TIFF", "save the others as separate files")])
def test_of_several_frames_the_first_is_read_with_a_notice(kind, advice, tmp_path):
    first, *others = [Image.new("RGB", (64, 48), (0, shade, 0)) for shade in (200, 150, 100, 50, 0)]
    data = encoded(first, kind, save_all=True, append_images=others)
    image, notice = read(write(tmp_path / "a.bin", data))
    assert "first of 5 frames" in notice and advice in notice
    assert image.shape == (48, 64, 3) and np.abs(image.astype(int) - [0, 200, 0]).max() <= 8
    assert not read(write(tmp_path / "one.bin", encoded(first, kind)))[1]


def test_an_animation_that_breaks_off_later_still_has_its_first_frame(tmp_path):
    first, *others = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)) for i in range(5)]
    data = encoded(first, "GIF", save_all=True, append_images=others)
    image, _ = read(write(tmp_path / "a.gif", data[:len(data) // 2]))
    assert np.array_equal(image, read(write(tmp_path / "whole.gif", data))[0])


def test_the_second_picture_of_an_mpo_is_not_worth_a_notice(tmp_path):
    """Phones and 3D cameras append a gain map or a second view to a file that its owner takes for a simple JPEG."""
    left, right = Image.new("RGB", (64, 48), (0, 200, 0)), Image.new("RGB", (64, 48))
    data = encoded(left, "MPO", save_all=True, append_images=[right])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    image, notice = read(write(tmp_path / "a.jpg", data))
    assert np.abs(image.astype(int) - [0, 200, 0]).max() <= 8 and not notice


# ------------------------------------------------------------------ huge

@pytest.mark.parametrize("kind, options", [("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
                                           ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("AVIF", {}), ("HEIF", {})])
def test_pillows_limit_on_the_size_does_not_matter(kind, options, tmp_path, monkeypatch):
    """The test lowers the limit instead of reading 361 megapixels. Afterwards the limit is in force again."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    image, notice = read(write(tmp_path / "a.bin", encoded(Image.new("RGB", (64, 48), (0, 200, 0)), kind, **options)))
    assert image.shape == (48, 64, 3) and abs(int(image[0, 0, 1]) - 200) <= 8 and not notice
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_too_many_pixels_are_a_stated_limit(tmp_path):
    header = struct.pack(">IIBBBBB", 40000, 30000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    with pytest.raises(ValueError, match="40000 x 30000 pixels, more than the 1,073,741,824.*smaller copy"):
        helpers.read_image(write(tmp_path / "a.png", data))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a process as Linux does")
@pytest.mark.slow
def test_too_little_memory_is_not_blamed_on_the_file(tmp_path):
    Image.new("1", (20000, 10000)).save(tmp_path / "a.png")
    Image.new("1", (20000, 10000)).save(tmp_path / "a.tif", compression="group4")
    Image.new("L", (9000, 9000)).save(tmp_path / "a.webp", quality=1, method=0)
    code = ("import resource, sys, helpers\nresource.setrlimit(resource.RLIMIT_AS, (1_300_000_000,) * 2)\n"
            "for path in sys.argv[1:]:\n"
            "    try:\n        helpers.read_image(path)\n"
            "    except MemoryError as problem:\n        print(problem)\n")
    files = [str(tmp_path / name) for name in ("a.png", "a.tif", "a.webp")]
    told = subprocess.run([sys.executable, "-c", code, *files], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for line, file in zip(told.splitlines(), files, strict=True):
        assert line.startswith(f"there is not enough memory to read {file}") and "again" not in line


# ------------------------------------------------------------------ heavy metadata

@pytest.mark.slow
def test_heavy_metadata_reads_like_none(tmp_path):
    picture = Image.fromarray(quadrants())
    megabytes = 10 ** 7
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "a" * megabytes)
    texts.add_text("Packed", "b" * 7 * megabytes, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", "c" * megabytes, zip=True)
    jpeg = encoded(picture, "JPEG", quality=95)
    long_exif = exif(1).tobytes() + bytes(60000)
    for data in (encoded(picture, "PNG", pnginfo=texts, icc_profile=bytes(megabytes), exif=long_exif),
                 encoded(picture, "JPEG", quality=95, icc_profile=bytes(megabytes)),
                 encoded(picture, "JPEG", quality=95, exif=long_exif),
                 jpeg[:2] + (b"\xff\xe1" + struct.pack(">H", 65002) + bytes(65000)) * 160 + jpeg[2:],
                 jpeg[:2] + (b"\xff\xfe" + struct.pack(">H", 65002) + b"x" * 65000) * 160 + jpeg[2:],
                 encoded(picture, "WEBP", lossless=True, exif=long_exif, xmp=bytes(megabytes)),
                 encoded(picture, "TIFF", tiffinfo={700: bytes(megabytes)}),
                 encoded(picture, "AVIF", exif=long_exif, xmp=bytes(megabytes)),
                 encoded(picture, "HEIF", exif=long_exif, xmp=bytes(megabytes), icc_profile=bytes(megabytes))):
        image, notice = read(write(tmp_path / "a.bin", data))
        assert_upright(image)
        assert not notice


# ------------------------------------------------------------------ damaged in the middle

def damages(data):
    """Name and bytes of a file with something wrong in the middle of it."""
    rng, middle = np.random.default_rng(3), len(data) // 2
    for count in (20000, 2000):
        yield f"{count} zeros", data[:middle] + bytes(count) + data[middle + count:]
    for name, other in [("ones", b"\xff" * 2000), ("noise", rng.bytes(2000)), ("another part", data[2000:6000])]:
        yield name, data[:middle] + other + data[middle + len(other):]
    yield "a gap", data[:middle] + data[middle + 2000:]
    yield "zeros to the end", data[:middle] + bytes(len(data) - middle)


def outcome(path):
    """What is said about a file, in a warning or an error."""
    try:
        return read(path)[1]
    except ValueError as problem:
        return str(problem)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 2},
                                     {"quality": 97, "subsampling": 0}, {"quality": 40, "optimize": True}], ids=str)
def test_damage_in_a_jpeg_is_noticed(options, tmp_path, pictures, capfd):
    data = encoded(Image.fromarray(pictures["obama"][..., ::-1].copy()), "JPEG", **{"quality": 90, **options})
    assert not read(write(tmp_path / "sound.jpg", data))[1]
    for name, damaged in damages(data):
        told = outcome(write(tmp_path / "a.jpg", damaged))
        assert "seems to be damaged" in told or "can't be read completely" in told, name
        assert "copy or download" in told
    os.write(2, b"stderr is back\n")
    assert capfd.readouterr().err == "stderr is back\n"


def test_a_damaged_jpeg_is_still_read(tmp_path, pictures):
    """20,000 zero bytes in the middle leave the upper half as it was."""
    data = (ROOT / "Media" / "obama.jpg").read_bytes()
    middle = len(data) // 2
    image, notice = read(write(tmp_path / "a.jpg", data[:middle] + bytes(20000) + data[middle + 20000:]))
    assert np.array_equal(image[:300], pictures["obama"][:300]) and "faces may be missed or labelled wrongly" in notice


@pytest.mark.parametrize("kind, options, least", [
    ("PNG", {}, 7), ("GIF", {}, 7), ("TIFF", {"compression": "tiff_lzw"}, 7), ("AVIF", {}, 7), ("WEBP", {"quality": 95}, 3),
    ("WEBP", {"lossless": True}, 3), ("HEIF", {"quality": 95}, 3), ("JPEG2000", {}, 3)])
@pytest.mark.slow
def test_damage_in_other_kinds(kind, options, least, tmp_path, pictures):
    """With checksums or a strict decoder, all damage is noticed; otherwise at least long zeros and gaps are."""
    data = encoded(Image.fromarray(pictures["obama"][:, ::-1, ::-1].copy()), kind, **options)
    assert not read(write(tmp_path / "sound.bin", data))[1]
    told = {name: outcome(write(tmp_path / "a.bin", damaged)) for name, damaged in damages(data)}
    noticed = [name for name, words in told.items() if words]
    assert len(noticed) >= least and {"20000 zeros", "zeros to the end", "a gap"} <= set(noticed), told
    for name in noticed:
        assert any(word in told[name] for word in ("damaged", "completely", "incomplete")), told[name]


def test_a_png_in_one_chunk_and_one_without_its_end(tmp_path):
    plain = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)), "PNG")
    pixels, start = b"", plain.index(b"IDAT") - 4
    position = start
    while plain[position + 4:position + 8] == b"IDAT":
        length = int.from_bytes(plain[position:position + 4], "big")
        pixels, position = pixels + plain[position + 8:position + 8 + length], position + 12 + length
    data = plain[:start] + png_chunk(b"IDAT", pixels) + plain[position:]
    expected, _ = read(write(tmp_path / "sound.png", data))
    for damaged in (data[:9000] + data[10000:], data[:9000] + b"!" + data[9001:], data[:9000]):
        with pytest.raises(ValueError, match="can't be read completely"):
            helpers.read_image(write(tmp_path / "a.png", damaged))
    damaged_text = png_with(data, (b"tEXt", b"a\0b")).replace(b"a\0b", b"a\0c")
    for complete in (data[:-12], data[:-5], damaged_text, data + b"appended"):
        assert np.array_equal(read(write(tmp_path / "a.png", complete))[0], expected)


@pytest.mark.slow
def test_intact_jpegs_cause_no_warning(tmp_path):
    """Not even flat ones, which consist mostly of zero bytes."""
    ramp = np.tile(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 1, 3))
    shapes = [Image.new("RGB", (640, 480)), Image.new("RGB", (640, 480), "white"), Image.new("L", (641, 479), 90),
              Image.new("RGB", (3000, 2000), (9, 99, 199)), Image.fromarray(ramp), Image.new("RGB", (1, 1))]
    for picture in shapes:
        for quality in (5, 75, 100):
            for options in ({}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}):
                data = encoded(picture, "JPEG", quality=quality, **options)
                assert not read(write(tmp_path / "a.jpg", data))[1], (picture, quality, options)
    whole = HOPPER.read_bytes()
    expected, _ = read(HOPPER)
    for padded in (whole + bytes(5000), whole[:-2] + bytes(300) + whole[-2:], whole[:-2] + b"\xff" * 300 + whole[-2:],
                   whole[:2] + b"\xff" * 30 + whole[2:], whole + whole, whole + b"appended" * 1000, whole[:-2]):
        image, notice = read(write(tmp_path / "a.jpg", padded))
        assert np.array_equal(image, expected) and not notice


def test_intact_jpegs_of_others_cause_no_warning():
    folders = [Path(matplotlib.__file__).parent, Path(sklearn.__file__).parent]
    found = [path for folder in folders for path in folder.rglob("*.jp*g")]
    assert len(found) >= 2
    for path in found:
        image, notice = read(path)
        assert np.array_equal(image, cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)) and not notice


@pytest.mark.slow
def test_intact_flat_pictures_of_other_kinds_cause_no_warning(tmp_path):
    for colour in ("black", "white", "teal"):
        for width, kind, options in [(3000, "WEBP", {"quality": 1, "method": 0}), (3000, "WEBP", {"method": 0}),
                                     (900, "WEBP", {"lossless": True}), (900, "JPEG2000", {}), (900, "PNG", {}),
                                     (900, "GIF", {}), (500, "HEIF", {}), (500, "AVIF", {"speed": 10})]:
            data = encoded(Image.new("RGB", (width, 2 * width // 3), colour), kind, **options)
            assert not read(write(tmp_path / "a.bin", data))[1], kind


# ------------------------------------------------------------------ formats, and what is not read

@pytest.mark.parametrize("name, kind", [
    ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.jpe", "JPEG"), ("a.jfif", "JPEG"), ("a.png", "PNG"), ("a.apng", "PNG"),
    ("a.webp", "WEBP"), ("a.gif", "GIF"), ("a.avif", "AVIF"), ("IMG_1.HEIC", "HEIF"), ("a.heif", "HEIF"), ("a.hif", "HEIF"),
    ("a.tif", "TIFF"), ("a.tiff", "TIFF"), ("a.bmp", "BMP"), ("a.dib", "DIB"), ("a.jp2", "JPEG2000"), ("a.j2k", "JPEG2000"),
    ("a.tga", "TGA"), ("a.ppm", "PPM"), ("a.pgm", "PPM"), ("a.pbm", "PPM"), ("a.pnm", "PPM"), ("a.mpo", "MPO"),
    ("really.jpg", "HEIF"), ("really.jpeg", "WEBP"), ("really.png", "AVIF"), ("really.heic", "JPEG"),
    ("really.nef", "JPEG")])
def test_each_format_is_read_whatever_its_file_is_called(name, kind, tmp_path):
    data = Image.fromarray(quadrants()).convert("P" if kind == "GIF" else "RGB")
    if kind in ("TGA", "JPEG2000"):
        data.save(tmp_path / name, kind)
    else:
        write(tmp_path / name, encoded(data, kind))
    image, notice = read(tmp_path / name)
    assert_upright(image)
    assert not notice
    assert name.startswith("really") or Path(name).suffix.lower() in helpers.IMAGE_SUFFIXES


def test_what_only_opencv_reads(tmp_path):
    pam = b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes([1, 2, 3, 4, 5, 6])
    assert read(write(tmp_path / "a.pam", pam))[0].tolist() == [[[3, 2, 1], [6, 5, 4]]]


@pytest.mark.parametrize("suffix, words", [
    (".CR2", "camera raw"), (".nef", "camera raw"), (".dng", "camera raw"), (".psd", "image editor"), (".svg", "as PNG"),
    (".pdf", "as PNG"), (".eps", "as PNG"), (".jxl", "JPEG XL"), (".exr", "tone-map")])
def test_known_formats_that_cannot_be_read_come_with_advice(suffix, words, tmp_path):
    thumbnail = tiff(np.zeros((4, 5, 3), np.uint8))              # a raw file shows readers of TIFF just a thumbnail
    with pytest.raises(ValueError, match=words) as caught:
        helpers.read_image(write(tmp_path / f"a{suffix}", thumbnail))
    assert f"a{suffix} is " in str(caught.value) and "again" not in str(caught.value)


def test_the_two_lists_of_extensions():
    unreadable = imagefiles.UNREADABLE_SUFFIXES
    assert not set(helpers.IMAGE_SUFFIXES) & set(unreadable)
    for suffix in (*helpers.IMAGE_SUFFIXES, *unreadable):
        assert suffix.startswith(".") and suffix == suffix.lower()
    assert all("save it" in cure or "export it" in cure for cure in unreadable.values())


@pytest.mark.parametrize("data, words", [
    (b"8BPS\0\1", "image editor"), (b"%PDF-1.7\n", "document"), (b"%!PS-Adobe-3", "document"),
    (b"\n <svg xmlns=", "document"), (b"\xff\x0a\1\2", "JPEG XL")])
def test_kinds_are_known_by_their_content_too(data, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        helpers.read_image(write(tmp_path / "a.jpg", data + bytes(100)))


def test_a_missing_package_is_not_blamed_on_the_file(tmp_path, monkeypatch):
    picture = Image.fromarray(quadrants())
    heic, avif, webp = (write(tmp_path / kind, encoded(picture, kind)) for kind in ("HEIF", "AVIF", "WEBP"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match="python -m pip install pillow-heif"):
        helpers.read_image(heic)
    for file, plugin in [(avif, "Avif"), (webp, "WebP")]:
        monkeypatch.setattr(f"PIL.{plugin}ImagePlugin.SUPPORTED", False)
        with pytest.raises(ValueError, match="this installation of Pillow.*pip install --force-reinstall pillow"):
            helpers.read_image(file)


@pytest.mark.parametrize("kind, options", [
    ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {}), ("HEIF", {}), ("WEBP", {}), ("GIF", {}), ("JPEG2000", {}),
    ("BMP", {}), ("PPM", {})])
def test_incomplete_files_are_called_incomplete(kind, options, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    data = encoded(picture, kind, **options)
    for part in (data[:len(data) // 2], data[:-len(data) // 10]):
        with pytest.raises(ValueError, match="can't be read completely|is incomplete") as caught:
            helpers.read_image(write(tmp_path / "a.bin", part))
        assert "copy or download" in str(caught.value) and "\n" not in str(caught.value)


def test_several_threads_may_read(tmp_path):
    """Pillow's limit and stderr belong to the process, and have to be restored."""
    limit, picture = Image.MAX_IMAGE_PIXELS, Image.fromarray(quadrants())
    files = [write(tmp_path / kind, encoded(picture, kind)) for kind in ("JPEG", "PNG", "AVIF", "TIFF")] * 10
    before = os.fstat(2)
    with ThreadPoolExecutor(8) as pool:
        for image in pool.map(helpers.read_image, files):
            assert_upright(image)
    assert limit == Image.MAX_IMAGE_PIXELS and os.fstat(2) == before


# ------------------------------------------------------------------ to_bgr

def grey(image):
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize("change", [
    grey, lambda i: grey(i)[..., None], lambda i: np.dstack([i, np.full(i.shape[:2], 255, np.uint8)]),
    lambda i: i.astype(np.int64), lambda i: i.astype(np.uint16), lambda i: i[:, ::-1].copy()[:, ::-1],
    lambda i: np.asfortranarray(i), lambda i: np.rot90(np.rot90(i, -1).copy())],
    ids=["grey", "one channel", "opaque", "int64", "uint16", "view", "column order", "turned view"])
def test_usual_forms_give_the_same_face_and_label(change, pictures):
    helpers.init_emotion()
    changed = change(pictures["obama"])
    (face,), (expected,) = helpers.detect_emotions(changed), helpers.detect_emotions(pictures["obama"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 4
    assert face["label"] == expected["label"] == "Happy"


@pytest.mark.parametrize("image, error, words", [
    (None, TypeError, "not None"), ("a.jpg", TypeError, r"read_image\('a.jpg'\)"),
    (ROOT / "x.jpg", TypeError, "read_image"), ([[1, 2], [3, 4]], TypeError, "not a list"),
    (Image.new("RGB", (9, 9)), TypeError, "NumPy array"),
    (np.zeros((9, 9), bool), TypeError, "not bool"), (np.zeros((9, 9, 3), np.float32), TypeError, "not float32"),
    (np.full((9, 9, 3), np.nan), TypeError, "not float64"), (np.zeros((9, 9), complex), TypeError, "complex"),
    (np.zeros((9, 9), object), TypeError, "object"), (np.zeros((0, 9, 3), np.uint8), ValueError, "empty"),
    (np.zeros((2, 9, 9, 3), np.uint8), ValueError, r"\(2, 9, 9, 3\)"), (np.zeros(9, np.uint8), ValueError, "not \\(9,\\)"),
    (np.zeros((9, 9, 2), np.uint8), ValueError, r"\(9, 9, 2\)"), (np.zeros((3, 9, 9), np.uint8), ValueError, "3, 9, 9"),
    (np.full((9, 9), 300, np.uint16), ValueError, "65535 for 16"), (np.full((9, 9), -1), ValueError, "from -1")])
def test_bad_arrays_get_an_explanation(image, error, words):
    helpers.init_emotion()
    for function in (helpers.to_bgr, helpers.detect_faces, helpers.preprocess, helpers.emotion, helpers.show,
                     lambda i: helpers.draw(i, []), lambda i: helpers.crop_face(i, (0, 0, 5, 5))):
        with pytest.raises(error, match=words):
            function(image)


def test_input_is_never_changed(pictures):
    helpers.init_emotion()
    image = pictures["four_people"].copy()
    drawn = helpers.emotion(image, returndata=True)
    assert np.array_equal(image, pictures["four_people"])
    assert not np.shares_memory(image, drawn) and not np.array_equal(image, drawn)
    empty = np.full((100, 100, 3), 7, np.uint8)
    assert not np.shares_memory(empty, helpers.emotion(empty, returndata=True))


def test_pillow_and_bytes_give_the_same_answer(pictures):
    helpers.init_emotion()
    pillow = np.array(Image.open(io.BytesIO(HOPPER.read_bytes())).convert("RGB"))[..., ::-1]
    (face,), (expected,) = helpers.detect_emotions(pillow), helpers.detect_emotions(pictures["grace_hopper"])
    assert np.abs(np.subtract(face["box"], expected["box"])).max() <= 2 and face["label"] == expected["label"]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_two_frames_are_several(kind, tmp_path):
    first, second = (Image.new("RGB", (64, 48), (0, shade, 0)) for shade in (200, 0))
    assert "first of 2 frames" in read(write(tmp_path / "a.bin", encoded(first, kind, save_all=True, append_images=[second])))[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the open files of a process as Linux does")
def test_reading_leaves_no_file_open(tmp_path):
    paths = [HOPPER, write(tmp_path / "deep.png", cv2.imencode(".png", np.full((8, 8), 40_000, np.uint16))[1].tobytes())]
    [helpers.read_image(path) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    [helpers.read_image(path) for path in paths * 3]
    assert len(os.listdir("/proc/self/fd")) == before
