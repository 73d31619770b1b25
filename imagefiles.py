"""Turn the bytes of an image file into an array, for helpers.read_image.

Pillow decodes. OpenCV takes over for samples of more than 8 bits, which Pillow would reduce to 8 in colour pictures, and
for the few kinds of files that Pillow doesn't know. It also gives a second opinion on damage in JPEG and AVIF files.
"""
import contextlib
import io
import os
import re
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

# The file extensions that are accepted in a folder.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".heic", ".heif", ".hif", ".avif",
            ".tif", ".tiff", ".bmp", ".dib", ".jp2", ".j2k", ".jpf", ".jpx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm")
_RAW = "a camera raw file: export it as JPEG, or use the JPEG that the camera saved with it"
_LAYERS = "the working file of an image editor: export it as JPEG or PNG"
_DRAWING = "a document or a drawing: export it as PNG"
_LIGHT = "an HDR picture, which stores light intensities instead of grey levels: tone-map it and save it as JPEG or PNG"
# The extensions of images that can't be read: what such a file is, and what to do about it.
UNREADABLE_SUFFIXES = {
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".rwl",
                     ".pef", ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".erf", ".mrw", ".kdc", ".dcr", ".mos", ".raw"), _RAW),
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra"), _LAYERS),
    **dict.fromkeys((".pdf", ".svg", ".svgz", ".eps", ".ps", ".ai", ".wmf", ".emf"), _DRAWING),
    **dict.fromkeys((".hdr", ".exr", ".pfm"), _LIGHT),
    ".jxl": "a JPEG XL picture, which neither Pillow nor OpenCV reads: save it as JPEG or PNG"}
MAX_PIXELS = 2 ** 30     # OpenCV refuses larger pictures

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "PCX", "QOI", "ICO", "ICNS")
_PICTURE_START = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP|II[*+]\0|MM\0[*+]|\0\0\0\x0cjP  |\xff\x4f\xff\x51|"
                            rb"....ftyp(avif|avis|he..|mif1|msf1)", re.DOTALL)
_OTHER_STARTS = {b"8BPS": ".psd", b"%PDF": ".pdf", b"%!PS": ".eps", b"<svg": ".svg", b"\xff\x0a": ".jxl",
                 b"\0\0\0\x0cJXL ": ".jxl"}
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
_CODESTREAM = b"\xff\x4f\xff\x51"                          # how the pixels of JPEG 2000 begin
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")      # ends a scan, unlike 00 and D0..D7
_FAILURES = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)       # what Pillow and its plugins raise
_lock = threading.Lock()     # one picture at a time: Pillow's limit, warning filters and stderr belong to the process
Array = npt.NDArray[Any]
Tags = dict[int, tuple[Any, ...]]


@contextlib.contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect the text of the warnings in a `with` block instead of printing them; the list is filled when the block ends."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield said
    said += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


class ImageWarning(UserWarning):
    """A picture was read, but perhaps not all of it, or not as intended."""


def read(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file that exists, upright, as a viewer shows it.

    - The picture is rotated as its Exif or TIFF tag says. In AVIF and HEIC files, the container's own rotation is used, and
      the Exif tag only if there is none.
    - Transparent pixels are blended onto white. CMYK colours are converted with the embedded profile if there is one.
    - 16-bit files often hold values of 10, 12 or 14 bits. The smallest of 8, 10, 12, 14 and 16 bits that holds the
      largest colour value is taken as the range, unless all values are multiples of 256 or 257, as in 8-bit pictures
      that were stretched to 16 bits. An `ImageWarning` says so if the range is less than 16 bits. So a file with no value
      above 255 is not rescaled; as a true 16-bit picture, it would be black. If a file declares its range, nothing is
      guessed.
    - If there are several frames or pages, the first one is read, with an `ImageWarning`.
    - Damage inside a file raises an error if the format has checksums or the decoder gives up. Otherwise, it causes an
      `ImageWarning`: for JPEG and AVIF if the decoder complains, for JPEG, WebP, HEIC and JPEG 2000 if there are long
      runs of zero bytes. In BMP, TGA, PPM and uncompressed TIFF files, damaged pixels can't be detected.

    Parameters
    ----------
    path : pathlib.Path
        The file. Python reads its bytes, so the folder can have any name.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR.

    Raises
    ------
    ValueError
        If the file is damaged, not an image, of a kind that can't be read, or has more than `MAX_PIXELS` pixels.
    MemoryError
        If there is not enough memory for the picture.

    Warns
    -----
    ImageWarning
        As described above.
    """
    notices: list[str] = []
    try:
        image = _decode(path, path.read_bytes(), notices)
    except MemoryError as problem:
        details = f" ({problem})" if str(problem) else ""
        raise MemoryError(f"there is not enough memory to read {path}{details}: close other programs, or save a smaller "
                          "copy of the picture") from None
    for notice in notices:
        warnings.warn(f"{path}: {notice}", ImageWarning, stacklevel=3)
    return image


def _decode(path: Path, data: bytes, notices: list[str]) -> npt.NDArray[np.uint8]:
    """Call `_read`; an error that is not one of its sentences becomes one, such as one about an odd value in the header."""
    try:
        with _without_size_limit():
            return _read(path, data, notices)
    except MemoryError:
        raise
    except Exception as problem:
        if str(path) in str(problem) or getattr(problem, "filename", None):
            raise
        raise _explained(path, problem) from None


@contextlib.contextmanager
def _without_size_limit() -> Iterator[None]:
    """Let Pillow read pictures of any size in a `with` block: beyond 179 megapixels, it suspects an attack."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")                    # warnings about unusual metadata
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read(path: Path, data: bytes, notices: list[str]) -> npt.NDArray[np.uint8]:
    """Do the work of `read`, and append to `notices` what the caller should know."""
    if path.suffix.lower() in UNREADABLE_SUFFIXES and not data.startswith((b"\xff\xd8\xff", _PNG)):
        raise ValueError(f"{path} is {UNREADABLE_SUFFIXES[path.suffix.lower()]}")
    if data.startswith(_PNG):
        data = _plain_png(path, data)
    tags = _tiff_tags(data)
    if 3 in tags.get(339, ()):                             # SampleFormat
        raise _float_pixels(path)
    picture = _open(path, data)
    kind, pixels, orientation = "", 0, 1
    if picture:
        kind, pixels, orientation = picture.format or "", picture.width * picture.height, _orientation(picture, data)
        if pixels > MAX_PIXELS:
            raise ValueError(f"{path} has {picture.width} x {picture.height} pixels, more than the {MAX_PIXELS:,} that "
                             "OpenCV accepts: save a smaller copy of the picture")
        np.empty(12 * pixels, np.uint8)     # reading needs this much memory; without it, a decoder might blame the file
        notices.extend(_about_frames(picture, data))
    white = _white(kind, data, tags)
    if not picture or white != 255:
        values, messages = _imdecode(data, cv2.IMREAD_UNCHANGED)
        cut_to_8_bits = bool(tags) and white != 255 and values is not None and values.dtype == np.uint8
        if values is not None and not cut_to_8_bits and "TIFF_Error" not in messages:
            if data.startswith(b"P7") and values.ndim == 3:
                values[..., [0, 2]] = values[..., [2, 0]]  # OpenCV reads the red of a PAM file as blue
            key = picture.info.get("transparency") if picture else None
            return _turn(_scale(path, values, white, tags, notices, key), orientation)
    if not picture:
        raise _unreadable(path, data)
    try:
        picture = _load(path, data, picture)
    except ValueError:
        values, messages = _imdecode(data, cv2.IMREAD_UNCHANGED) if tags else (None, "")
        if values is None or "TIFF_Error" in messages or white != 255:
            raise
        return _scale(path, values, white, tags, notices)  # a TIFF that only libtiff can read
    if picture.mode == "F":
        raise _float_pixels(path)
    if picture.mode[0] == "I":
        return _turn(_scale(path, np.asarray(picture).astype(np.int32), None, tags, notices), orientation)
    notices.extend(_damage(picture, data))
    return _turn(_to_bgr(picture), orientation)


# ---------------------------------------------------------------- the decoders

def _open(path: Path, data: bytes) -> Image.Image | None:
    """Let Pillow read the header; None if it doesn't recognise the format."""
    formats = [*_FORMATS, "TGA"] if path.suffix.lower() == ".tga" else [*_FORMATS]      # other bytes may look like a TGA
    if re.match(rb"....ftyp(he|mif1|msf1)", data, re.DOTALL) and b"avif" not in data[:64]:
        try:
            import pillow_heif
        except ImportError:
            raise ValueError(f"{path} is a HEIC picture, which Pillow can only read with the package pillow-heif: run "
                             "python -m pip install pillow-heif, or save the picture as JPEG") from None
        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        for warning in heard:
            if "support not installed" in str(warning.message):
                raise ValueError(f"{path} can't be read with this installation of Pillow ({warning.message}): run "
                                 "python -m pip install --force-reinstall pillow") from None
        return None
    except _FAILURES as problem:
        if data.startswith(b"RIFF") and len(data) >= 8 + int.from_bytes(data[4:8], "little"):
            np.empty(2 ** 31, np.uint8)      # a WebP decoder takes up to 2 GB at once, and doesn't say if it can't have them
        raise _explained(path, problem) from None


def _load(path: Path, data: bytes, picture: Image.Image) -> Image.Image:
    """Let Pillow decode the pixels."""
    try:
        picture.load()
    except _FAILURES as problem:
        if picture.format not in ("JPEG", "MPO"):
            raise _explained(path, problem) from None
        try:     # perhaps only the end marker is missing: then a few more bytes let the decoder reach the last pixel
            picture = Image.open(io.BytesIO(data + bytes(16)), formats=["JPEG"])
            picture.load()
        except _FAILURES:
            raise _explained(path, problem) from None
    return picture


def _imdecode(data: bytes, flags: int) -> tuple[Array | None, str]:
    """Decode with OpenCV; return the image, or None, and what OpenCV, libjpeg and libtiff wrote to stderr meanwhile."""
    with tempfile.TemporaryFile() as file:
        saved = None
        with contextlib.suppress(OSError):                 # there is no stderr
            saved = os.dup(2)
            os.dup2(file.fileno(), 2)
        try:
            image, messages = cv2.imdecode(np.frombuffer(data, np.uint8), flags), ""
        except cv2.error as problem:
            image, messages = None, str(problem)
        finally:
            if saved is not None:
                os.dup2(saved, 2)
                os.close(saved)
        file.seek(0)
        messages += file.read().decode("utf-8", "replace")
    if image is None and re.search("-4:Insufficient memory|bad_alloc", messages):
        raise MemoryError
    return image, messages


# ---------------------------------------------------------------- what a container says

def _plain_png(path: Path, data: bytes) -> bytes:
    """Check the checksums of a PNG file, and leave out its texts and profile, which may be larger than Pillow allows."""
    kept, position = [_PNG], len(_PNG)
    while position < len(data):
        name, end = data[position + 4:position + 8], position + 12 + int.from_bytes(data[position:position + 4], "big")
        if end > len(data) and not data.endswith(_PNG_END):
            return b"".join([*kept, data[position:]])      # its end is missing; Pillow finds out whether pixels are missing too
        if (name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
                and zlib.crc32(data[position + 4:end - 4]) != int.from_bytes(data[end - 4:end], "big")):
            raise ValueError(f"{path} can't be read completely (its chunk {name.decode()} has a wrong checksum): "
                             "copy or download the picture again")
        if name == b"IEND":
            break
        if name not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, _PNG_END])


def _tiff_tags(data: bytes) -> Tags:
    """Return the tags that say how a TIFF file's first page stores its samples; {} for other files, or if that fails."""
    tags: Tags = {}
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        with contextlib.suppress(Exception):
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:16 if b"+" in data[:4] else 8])
            file = io.BytesIO(data)
            file.seek(directory.next)
            directory.load(file)
            for tag, default in ((258, 1), (262, 1), (338, 0), (339, 1)):     # bits, photometric, extra samples, type
                value = directory.get(tag, default)
                tags[tag] = value if isinstance(value, tuple) else (value,)
    return tags


def _white(kind: str, data: bytes, tags: Tags) -> int | None:
    """Return the value of white in the samples as OpenCV returns them; None if a file of 16 or more bits doesn't say."""
    bits = 8
    if kind == "PNG":
        bits = data[24]
    elif kind == "JPEG2000" and len(header := data[data.find(_CODESTREAM):][:43]) == 43:
        bits = (header[42] & 127) + 1
    elif kind == "PPM" and data[:2] in (b"P2", b"P3", b"P5", b"P6"):
        white = int(re.sub(rb"#[^\n]*", b"", data[:1 << 20]).split()[3])
        return white if white < 65535 else None
    elif tags:
        bits = int(max(tags[258]))
        if 8 < bits < 16:
            return ((1 << bits) - 1) << (16 - bits)        # OpenCV shifts them up
    return 255 if bits <= 8 else (1 << bits) - 1 if bits < 16 else None


def _orientation(picture: Image.Image, data: bytes) -> int:
    """Return the Exif orientation that still has to be applied; 1 is upright."""
    if picture.format == "TIFF":
        return 1                                           # Pillow and OpenCV rotate it themselves
    exif = Image.Exif()
    with contextlib.suppress(Exception):                   # whatever is wrong with the metadata, there are pixels
        if picture.format in ("AVIF", "HEIF") and not re.search(rb"\0\0\0\x09(irot|imir)", data):
            exif.load(re.split(rb"(?=II\*\0|MM\0\*)", data, maxsplit=1)[1][:2 ** 20])      # Pillow ignores it
        elif picture.format == "PNG" and "exif" not in picture.info and b"eXIf" in data:     # it stands after the pixels,
            with Image.open(io.BytesIO(data), formats=["PNG"]) as whole:                     # so they have to be read first
                whole.load()
                exif.load(whole.info.get("exif", b""))
        else:
            exif.load(picture.info.get("exif", b""))       # getexif() would look into XMP, too, as viewers don't
        return int(exif.get(274, 1))
    return 1


def _about_frames(picture: Image.Image, data: bytes) -> list[str]:
    """Return a sentence if a file holds more than one frame or page, otherwise nothing."""
    frames, kind = 1, picture.format or ""
    with contextlib.suppress(Exception):                   # whatever is wrong with the later frames
        if kind in ("GIF", "TIFF"):                        # counting them would move the picture itself
            frames = getattr(Image.open(io.BytesIO(data), formats=[kind]), "n_frames", 1)
        elif kind in ("PNG", "WEBP", "AVIF", "HEIF"):      # the other pictures in an MPO are not meant to be shown
            frames = getattr(picture, "n_frames", 1)
    advice = {"GIF": "use video.Reader for the whole clip", "PNG": "use video.Reader for the whole clip",
              "WEBP": "save it as GIF or MP4 and use video.Reader for the whole clip",
              "AVIF": "save it as GIF or MP4 and use video.Reader for the whole clip"}
    return [f"only the first of {frames} frames is read: {advice.get(kind, 'save the others as separate files')}"
            ] if frames > 1 else []


# ---------------------------------------------------------------- to 8-bit BGR

def _to_bgr(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Convert a picture of any mode with 8 bits per sample to BGR."""
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer)
    elif picture.mode == "CMYK" and picture.info.get("icc_profile"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):       # a broken profile is ignored
            picture = ImageCms.profileToProfile(picture, io.BytesIO(picture.info["icc_profile"]),
                                                ImageCms.createProfile("sRGB"), outputMode="RGB") or picture
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    return np.asarray(cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR), np.uint8)


def _scale(path: Path, values: Array, white: int | None, tags: Tags, notices: list[str],
           key: Any = None) -> npt.NDArray[np.uint8]:
    """Scale samples to 0..255 and convert them to BGR.

    Parameters
    ----------
    path : pathlib.Path
        For error messages.
    values : numpy.ndarray
        (H, W), (H, W, 3) BGR or (H, W, 4) BGRA.
    white : int or None
        The value that becomes 255; None to guess it.
    tags : dict
        As `_tiff_tags` returns them.
    notices : list of str
        A sentence is appended if `white` had to be guessed.
    key : int, optional
        The grey value that is transparent.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR.
    """
    if values.dtype.kind == "f":
        raise _float_pixels(path)
    colours = values if values.ndim == 2 else np.ascontiguousarray(values[..., :3])
    lowest, highest = int(colours.min()), int(colours.max())
    if lowest < 0 or highest > 65535:
        raise ValueError(f"{path} has pixels from {lowest} to {highest}, which are not grey levels: save it as an 8-bit or "
                         "16-bit picture")
    if white is None or white == 255 and values.dtype != np.uint8:
        white = next(largest for largest in (255, 1023, 4095, 16383, 65535) if highest <= largest)
        if white < 65535 and not ((colours % 257).any() and (colours % 256).any()):      # stretched from 8 bits
            white = 65535
        if white < 65535:
            notices.append(f"the largest value in this 16-bit file is {highest}, so it is read as {white.bit_length()}-bit: "
                           f"{white} is white")
    image = cv2.convertScaleAbs(colours, alpha=255 / white)
    if tags.get(262) == (0,) and values.ndim == 2 and values.dtype != np.uint8:      # 0 is white
        image = cv2.bitwise_not(image)
    alpha = values[..., 3] if values.ndim == 3 and values.shape[2] == 4 else None
    if key is not None and values.ndim == 2:
        alpha = np.where(values == key, 0, white)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if alpha is None:
        return np.asarray(image, np.uint8)
    opaque = white if alpha.max() <= white else 65535
    opacity = cv2.convertScaleAbs(np.ascontiguousarray(alpha, np.int32), alpha=255 / opaque)
    if 1 in tags.get(338, ()):                             # the colours have been multiplied by the opacity
        return np.asarray(cv2.add(image, cv2.cvtColor(cv2.bitwise_not(opacity), cv2.COLOR_GRAY2BGR)), np.uint8)
    canvas = Image.new("RGB", opacity.shape[::-1], "white")
    canvas.paste(Image.fromarray(image), mask=Image.fromarray(opacity))
    return np.array(canvas)


def _turn(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn an image upright by its Exif orientation; values other than 2 to 8 change nothing."""
    if orientation in (5, 7):
        image = np.asarray(cv2.transpose(image), np.uint8)
    if orientation in (2, 4):
        image = np.asarray(cv2.flip(image, 1 if orientation == 2 else 0), np.uint8)
    rotation = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    return np.asarray(cv2.rotate(image, rotation[orientation]), np.uint8) if orientation in rotation else image


# ---------------------------------------------------------------- damage that Pillow does not notice

def _damage(picture: Image.Image, data: bytes) -> list[str]:
    """Return a sentence if a file seems damaged although Pillow has decoded it, otherwise nothing."""
    found = ""
    if picture.format in ("JPEG", "MPO"):
        _, messages = _imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)         # small, but libjpeg has to read everything
        complaint = re.search(r"Corrupt JPEG data: ((\d+) extraneous bytes before marker 0x(..)|.*)", messages)
        if complaint and not (complaint[2] and bytes(int(complaint[2])) + b"\xff" + bytes.fromhex(complaint[3]) in data):
            found = complaint[1]                           # and the extraneous bytes are not just padding
        elif _has_zeroed_scan(data):
            found = "a run of zero bytes"
    elif picture.format == "AVIF" and "orrupt" in _imdecode(data, cv2.IMREAD_GRAYSCALE)[1]:
        found = "corrupt frame"
    elif picture.format in ("WEBP", "HEIF", "JPEG2000"):
        zeros = bytes(max(8192, picture.width * picture.height // 5000))      # flat areas of WebP have shorter runs
        pixels = data[data.find(_CODESTREAM):] if picture.format == "JPEG2000" else data
        if zeros in pixels and not any(zeros in value for value in picture.info.values() if isinstance(value, bytes)):
            found = "a run of zero bytes"                  # and not in Exif, XMP or a profile
    return [f"part of this picture seems to be damaged ({found}), so faces may be missed or labelled wrongly: copy or "
            "download it again"] if found else []


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (marker, content, scan data) of each segment of a JPEG file; only after SOS (0xDA) there is scan data."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xD9:
        if data[position + 1] == 0xFF:                     # padding
            position += 1
            continue
        start = position + 2 + int.from_bytes(data[position + 2:position + 4], "big")
        following = _JPEG_MARKER.search(data, start) if data[position + 1] == 0xDA else None
        end = start if data[position + 1] != 0xDA else following.start() if following else len(data)
        yield data[position + 1], data[position + 4:start], data[start:end]
        position = end


def _is_frame_header(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _has_zeroed_scan(data: bytes) -> bool:
    """Tell whether a JPEG file has 64 zero bytes in a row where it should have pixels.

    In intact files, zero bits encode whatever comes first in a Huffman table. Runs of them are only plausible if that
    is EOB, "no more coefficients", as in flat areas of files with optimised tables.
    """
    sequential, zeros_are_eob = False, {}
    for marker, content, scan in _jpeg_segments(data):
        if _is_frame_header(marker):
            sequential = marker in (0xC0, 0xC1)
        while marker == 0xC4 and len(content) > 17:        # one or more tables: class and number, 16 counts, symbols
            zeros_are_eob[content[0]] = content[17] == 0
            content = content[17 + sum(content[1:17]):]
        if marker == 0xDA and sequential and content:
            stripped = scan.rstrip(b"\0")
            if len(scan) - len(stripped) >= 64 and data.endswith(scan):
                return True                                # zeros to the end of the file; before a marker they are padding
            tables = [0x10 | number & 15 for number in content[2:2 + 2 * content[0]:2]]        # of the AC coefficients
            if bytes(64) in stripped and not all(zeros_are_eob.get(table) for table in tables):
                return True
    return False


# ---------------------------------------------------------------- error messages

def _explained(path: Path, problem: Exception) -> Exception:
    """Return the error to raise when Pillow fails on a file whose kind it knows."""
    reason = " ".join(str(problem).split())
    if "memory" in reason.lower():
        return MemoryError()
    if re.search("nsupported|not supported|not available|not implemented|limit|nknown", reason):
        return ValueError(f"{path} is a kind of picture that Pillow can't read here ({reason}): save it as JPEG or PNG")
    return ValueError(f"{path} can't be read completely ({reason}): copy or download the picture again")


def _unreadable(path: Path, data: bytes) -> ValueError:
    """Return the error to raise when neither library reads a file."""
    for start, suffix in _OTHER_STARTS.items():
        if data[:64].lstrip().startswith(start):
            return ValueError(f"{path} is {UNREADABLE_SUFFIXES[suffix]}")
    if data.startswith(b"\xff\xd8\xff"):
        for marker, content, _ in _jpeg_segments(data):
            if _is_frame_header(marker) and content and content[0] != 8:
                return ValueError(f"{path} is a JPEG with {content[0]} bits per sample, which neither Pillow nor OpenCV "
                                  "reads: save it with 8 bits")
    if _PICTURE_START.match(data):
        return ValueError(f"{path} can't be read: it is incomplete, or of a kind that neither Pillow nor OpenCV knows. If "
                          "another program shows it, save it there as JPEG or PNG; otherwise copy or download it again")
    return ValueError(f"{path} is not a picture that Pillow or OpenCV can read ({len(data):,} bytes): try a JPEG or PNG")


def _float_pixels(path: Path) -> ValueError:
    return ValueError(f"{path} has floating-point pixels, not grey levels: save it with 8 or 16 bits (for values from 0 to "
                      "1, use (image * 255).round().astype('uint8'))")
