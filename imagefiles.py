"""From the bytes of an image file to an array: what helpers.read_image calls.

Pillow decodes. OpenCV helps out with samples of more than 8 bits, of which Pillow would keep only the upper half, with
the few kinds of files that Pillow doesn't know, and with a second opinion on damage in JPEG and AVIF files.
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

# The files that are taken from a folder: by these extensions, in lower case.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".heic", ".heif", ".hif", ".avif",
            ".tif", ".tiff", ".bmp", ".dib", ".jp2", ".j2k", ".jpf", ".jpx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm")
_RAW = "a camera raw file: export it as JPEG, or take the JPEG that the camera saved with it"
_LAYERS = "the working file of a drawing program: export it as JPEG or PNG"
_DRAWING = "a document or a drawing: export it as PNG"
_LIGHT = "a picture of light intensities, not of grey levels: tone-map it and save it as JPEG or PNG"
# Images that can't be read, by extension: what the file is, and what to do about it.
UNREADABLE_SUFFIXES = {
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".rwl",
                     ".pef", ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".erf", ".mrw", ".kdc", ".dcr", ".mos", ".raw"), _RAW),
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra"), _LAYERS),
    **dict.fromkeys((".pdf", ".svg", ".svgz", ".eps", ".ps", ".ai", ".wmf", ".emf"), _DRAWING),
    **dict.fromkeys((".hdr", ".exr", ".pfm"), _LIGHT),
    ".jxl": "a JPEG XL picture, which neither Pillow nor OpenCV reads: save it as JPEG or PNG"}
MAX_PIXELS = 2 ** 30     # OpenCV refuses larger pictures

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "PCX", "QOI", "ICO", "ICNS")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_CHECKED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")             # the chunks that the pixels depend on
_PNG_DROPPED = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")             # Pillow refuses a file in which these are large
_PICTURE_START = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|BM|RIFF....WEBP|II[*+]\0|MM\0[*+]|\0\0\0\x0cjP  |\xff\x4f\xff\x51|"
                            rb"....ftyp(avif|avis|he[a-z][a-z]|mif1|msf1)", re.DOTALL)
_HEIF_START = re.compile(rb"....ftyp(he[a-z][a-z]|mif1|msf1)", re.DOTALL)
_OTHER_STARTS = {b"8BPS": ".psd", b"%PDF": ".pdf", b"%!PS": ".eps", b"<svg": ".svg", b"\xff\x0a": ".jxl",
                 b"\0\0\0\x0cJXL ": ".jxl"}
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")         # ends a scan; the bytes 00 and D0..D7 don't
_lock = threading.Lock()      # for what belongs to the whole process: Pillow's size limit, warning filters, stderr
Array = npt.NDArray[Any]


class ImageWarning(UserWarning):
    """A picture was read, but perhaps not all of it, or not as it was meant."""


def decode(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file that exists, upright, the way a viewer shows it.

    - It is turned as its Exif or TIFF tag, or in AVIF and HEIC the container, says. (There an Exif tag is ignored, as the
      standard wants it and viewers do.)
    - Transparent pixels are laid on white. CMYK colours are converted with the embedded profile if there is one.
    - 16-bit files often hold values of 10, 12 or 14 bits. The smallest of 8, 10, 12, 14 and 16 bits that holds the
      file's largest colour value is taken as its range, so a file with values up to 255 is taken as 8-bit. An
      `ImageWarning` says so if it is not 16. Where the file itself declares its range, this is used.
    - Of several frames or pages the first is read, with an `ImageWarning`.
    - Damage in the middle gives an `ImageWarning` if the decoder can go on (JPEG, AVIF, and long runs of zero bytes in
      WebP, HEIC and JPEG 2000), otherwise an error. BMP, TGA, PPM and uncompressed TIFF files can't show it.

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
        See above.
    """
    notices: list[str] = []
    try:
        image = _read(path, path.read_bytes(), notices)
    except MemoryError as problem:
        raise MemoryError(f"{path} is too large for the memory that is left{_in_brackets(problem)}: close other programs, "
                          "or save a smaller copy of the picture") from None
    for notice in notices:
        warnings.warn(f"{path}: {notice}", ImageWarning, stacklevel=3)
    return image


def _in_brackets(problem: object) -> str:
    return f" ({problem})" if str(problem) else ""


# ---------------------------------------------------------------- from the file to its pixels

def _read(path: Path, data: bytes, notices: list[str]) -> npt.NDArray[np.uint8]:
    """Do the work of `decode`, and append to `notices` what the caller should be told."""
    if path.suffix.lower() in UNREADABLE_SUFFIXES and not data.startswith((b"\xff\xd8\xff", _PNG)):
        raise ValueError(f"{path} is {UNREADABLE_SUFFIXES[path.suffix.lower()]}")
    if data.startswith(_PNG):
        data = _plain_png(path, data)
    tags = _tiff_tags(data)
    if 3 in tags.get(339, ()):                             # SampleFormat: floating point
        raise _float_samples(path)
    picture, frames, orientation = _open(path, data)
    kind = (picture.format or "") if picture else ""
    if picture:
        pixels = picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise ValueError(f"{path} has {picture.width} x {picture.height} pixels, more than the {MAX_PIXELS:,} that OpenCV "
                             "takes: save a smaller copy of the picture")
        np.empty(8 * pixels, np.uint8)                     # no memory: an error here, before a decoder blames the file
    if frames > 1:
        notices.append(_about_frames(kind, frames))
    white = _white(kind, data, tags)
    values = None
    if not picture or white != 255 and not (kind == "JPEG2000" and white):
        values, messages = _imdecode(data, cv2.IMREAD_UNCHANGED)
        if tags and values is not None and ("TIFF_Error" in messages or values.dtype == np.uint8):
            values = None                                  # damaged, or the samples were cut to 8 bits
    if values is None:
        if not picture:
            raise _unreadable(path, data)
        picture = _load(path, data, picture)
        if picture.mode == "F":
            raise _float_samples(path)
        if picture.mode.startswith("I"):
            values = np.asarray(picture).astype(np.int32)
    if values is not None:
        key = picture.info.get("transparency") if picture else None
        return _turn(_to_8_bits(path, values, white, tags, key, notices), orientation)
    assert picture
    image = _turn(_from_pillow(picture), orientation)
    notices.extend(_damage(kind, data, pixels))
    return image


@contextlib.contextmanager
def _without_size_limit() -> Iterator[list[warnings.WarningMessage]]:
    """Let Pillow open pictures of any size in a `with` block; gives the list of the warnings that it issues there."""
    with _lock, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield heard
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open(path: Path, data: bytes) -> tuple[Image.Image | None, int, int]:
    """Let Pillow read the header: picture (None if Pillow doesn't know the kind), number of frames, Exif orientation."""
    formats = [*_FORMATS, *(["TGA"] if path.suffix.lower() == ".tga" else [])]      # other bytes may look like a TGA
    if _HEIF_START.match(data):
        try:
            import pillow_heif
        except ImportError:
            raise ValueError(f"{path} is a HEIC picture, which Pillow can only read with the package pillow-heif: run "
                             "python -m pip install pillow-heif, or save the picture as JPEG") from None
        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    with _without_size_limit() as heard:
        try:
            picture = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError:
            for warning in heard:
                if "support not installed" in str(warning.message):
                    raise ValueError(f"{path} can't be read with this Pillow ({warning.message}): run "
                                     "python -m pip install --force-reinstall pillow") from None
            return None, 1, 1
        except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as problem:
            raise _explained(path, problem) from None
        frames, orientation = 1, 1
        with contextlib.suppress(Exception):               # whatever is wrong with the later frames
            if picture.format != "MPO":                    # its further pictures are not meant to be seen
                frames = getattr(Image.open(io.BytesIO(data), formats=[picture.format or ""]), "n_frames", 1)
        with contextlib.suppress(Exception):               # whatever is wrong with the metadata
            picture.info.pop("xmp", None)                  # Pillow would obey an orientation there; viewers don't
            orientation = picture.getexif().get(274, 1)
            if picture.format in ("AVIF", "HEIF") and not re.search(rb"\0\0\0\x09(irot|imir)", data):
                exif = Image.Exif()                        # the container turns nothing; here Pillow passes over the Exif tag
                exif.load(re.split(rb"(?=II\*\0|MM\0\*)", data, maxsplit=1)[1][:2 ** 20])
                orientation = exif.get(274, 1)
        return picture, frames, 1 if picture.format == "TIFF" else orientation    # both libraries turn TIFFs themselves


def _load(path: Path, data: bytes, picture: Image.Image) -> Image.Image:
    """Let Pillow decode the pixels."""
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as problem:
        if picture.format not in ("JPEG", "MPO") or "truncated" not in str(problem):
            raise _explained(path, problem) from None
        try:                # perhaps only the end marker is missing: then a few more bytes let Pillow reach the last pixel
            with _without_size_limit():
                picture = Image.open(io.BytesIO(data + bytes(16)), formats=["JPEG"])
            picture.load()
        except (OSError, SyntaxError):
            raise _explained(path, problem) from None
    return picture


def _imdecode(data: bytes, flags: int) -> tuple[Array | None, str]:
    """Decode with OpenCV: the image, or None, and the messages.

    OpenCV, libjpeg and libtiff write to stderr what they find wrong, and have no other way to tell.
    """
    with _lock, tempfile.TemporaryFile() as messages:
        saved = -1
        with contextlib.suppress(OSError):                 # there is no stderr
            saved = os.dup(2)
            os.dup2(messages.fileno(), 2)
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as problem:
            image, error = None, str(problem)
        else:
            error = ""
        finally:
            if saved >= 0:
                os.dup2(saved, 2)
                os.close(saved)
        messages.seek(0)
        text = messages.read().decode("utf-8", "replace") + error
    if image is None and re.search(r"-4:Insufficient memory|bad_alloc", text):
        raise MemoryError
    return image, text


# ---------------------------------------------------------------- what the containers say

def _plain_png(path: Path, data: bytes) -> bytes:
    """Check the checksums of a PNG file, and leave out its texts and profiles, which may be larger than Pillow allows."""
    kept, position = [data[:8]], 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position:position + 4], "big")
        name = data[position + 4:position + 8]
        if end > len(data) and not data.endswith(_PNG_END):
            return b"".join([*kept, data[position:]])      # the end is missing: Pillow finds out whether pixels are
        if name in _PNG_CHECKED and zlib.crc32(data[position + 4:end - 4]) != int.from_bytes(data[end - 4:end], "big"):
            raise ValueError(f"{path} can't be read completely (its chunk {name.decode()} has a wrong checksum): "
                             "copy or download the picture again")
        if name == b"IEND":
            break
        if name not in _PNG_DROPPED:
            kept.append(data[position:end])
        position = end
    return b"".join([*kept, _PNG_END])


def _tiff_tags(data: bytes) -> dict[int, tuple[Any, ...]]:
    """Tags of the first page of a TIFF file as tuples; {} for other files, and if they can't be read."""
    tags: dict[int, tuple[Any, ...]] = {}
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:16 if b"+" in data[:4] else 8])
            file = io.BytesIO(data)
            file.seek(directory.next)
            directory.load(file)
            for tag in (258, 262, 338, 339):               # BitsPerSample, Photometric, ExtraSamples, SampleFormat
                if tag in directory:
                    value = directory[tag]
                    tags[tag] = value if isinstance(value, tuple) else (value,)
            tags.setdefault(258, (1,))
    return tags


def _white(kind: str, data: bytes, tags: dict[int, tuple[Any, ...]]) -> int | None:
    """Return the sample value that is white as the file declares it; None for 16 bits and more, where it has to be guessed."""
    bits = 8
    if kind == "PNG":
        bits = data[24]
    elif tags:
        bits = max(tags[258])
    elif kind == "JPEG2000":
        bits = (data[data.index(b"\xff\x4f\xff\x51") + 42] & 127) + 1
    elif kind == "PPM" and data[:2] not in (b"P1", b"P4"):
        largest = int(re.sub(rb"#[^\n]*", b"", data[:4096]).split()[3])
        return largest if largest < 65535 else None
    return 255 if bits <= 8 else 65535 if bits < 16 else None      # 9 to 15 bits: the decoders scale to 16


# ---------------------------------------------------------------- from the pixels to 8-bit BGR

def _from_pillow(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Convert a picture of 8 bits per sample, of any mode, to BGR."""
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer)
    elif picture.mode == "CMYK" and picture.info.get("icc_profile"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError):       # a broken profile: as without one
            picture = ImageCms.profileToProfile(picture, io.BytesIO(picture.info["icc_profile"]),
                                                ImageCms.createProfile("sRGB"), outputMode="RGB") or picture
    return np.asarray(cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR), np.uint8)


def _to_8_bits(path: Path, values: Array, white: int | None, tags: dict[int, tuple[Any, ...]], key: int | None,
               notices: list[str]) -> npt.NDArray[np.uint8]:
    """Scale samples to 0..255 and convert them to BGR.

    Parameters
    ----------
    path : pathlib.Path
        For the messages.
    values : numpy.ndarray
        (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, of any type.
    white : int or None
        The value that becomes 255; None to guess it.
    tags : dict
        As `_tiff_tags` returns them.
    key : int or None
        The grey value that is transparent.
    notices : list of str
        Gets a sentence if white was guessed.

    Returns
    -------
    numpy.ndarray
        uint8 (H, W, 3), BGR.
    """
    if values.dtype.kind == "f":
        raise _float_samples(path)
    colours, alpha = (values, None) if values.ndim == 2 else (values[..., :3], values[..., 3] if values.shape[2] == 4 else None)
    top = int(colours.max())
    if values.dtype == np.uint8:
        white = white or 255
    if top > 65535 or values.min() < 0:
        raise ValueError(f"{path} has pixels from {values.min()} to {top}, which are not grey levels: save it as an 8-bit "
                         "or 16-bit picture")
    if white is None:
        white = next(largest for largest in (255, 1023, 4095, 16383, 65535) if top <= largest)
        if white < 65535 and not ((colours % 257).any() and (colours % 256).any()):      # 8-bit values, stretched
            white = 65535
        if top > 0 and white < 65535:
            notices.append(f"this is a 16-bit file, but its values end at {top}: it is taken as {white.bit_length()}-bit, with "
                           f"{white} for white")
    if key is not None and alpha is None and values.ndim == 2:
        alpha = np.where(values == key, 0, white).astype(np.int32)
    image = cv2.convertScaleAbs(np.ascontiguousarray(colours), alpha=255 / white)
    if tags.get(262) == (0,) and values.dtype != np.uint8:            # Photometric: 0 is white
        image = cv2.bitwise_not(image)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if alpha is not None:
        opacity = cv2.convertScaleAbs(np.ascontiguousarray(alpha), alpha=255 / (white if alpha.max() <= white else 65535))
        if 1 in tags.get(338, ()):                                    # ExtraSamples: colours are already multiplied by it
            image = cv2.add(image, cv2.cvtColor(cv2.bitwise_not(opacity), cv2.COLOR_GRAY2BGR))
        else:
            height, width = opacity.shape
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(Image.fromarray(image), mask=Image.fromarray(opacity))
            image = np.array(canvas)
    return np.asarray(image, np.uint8)


def _turn(image: npt.NDArray[np.uint8], orientation: object) -> npt.NDArray[np.uint8]:
    """Turn an image upright by its Exif orientation; values other than 2 to 8 change nothing."""
    if orientation in (5, 7):
        image = np.asarray(cv2.transpose(image), np.uint8)
    if orientation in (2, 4):
        return np.asarray(cv2.flip(image, 1 if orientation == 2 else 0), np.uint8)
    rotation = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if orientation in rotation:
        image = np.asarray(cv2.rotate(image, rotation[orientation]), np.uint8)
    return image


# ---------------------------------------------------------------- damage that a decoder passes over

def _damage(kind: str, data: bytes, pixels: int) -> list[str]:
    """Look for damage in a file that Pillow has decoded without an error.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    found = ""
    if kind in ("JPEG", "MPO"):
        messages = _imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)[1]     # an eighth of the size: it only has to read all
        warning = re.search(r"Corrupt JPEG data: ((\d+) extraneous bytes before marker 0x(..)|.*)", messages)
        if warning and not (warning[2] and bytes(int(warning[2])) + b"\xff" + bytes.fromhex(warning[3]) in data):
            found = warning[1]                                            # other than zero bytes as padding
        elif _has_zeroed_scan(data):
            found = "a run of zero bytes"
    elif kind == "AVIF":
        found = "corrupt frame" if "orrupt" in _imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)[1] else ""
    elif kind in ("WEBP", "HEIF", "JPEG2000") and bytes(max(8192, pixels // 5000)) in data:    # a flat WebP has some, too
        found = "a run of zero bytes"
    return [f"a part of this picture seems damaged ({found}), so faces may be missing or wrong: copy or download the picture "
            "again"] if found else []


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (marker, content, scan data) of each segment of a JPEG file; only SOS (0xDA) is followed by scan data."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xD9:
        if data[position + 1] == 0xFF:                     # padding
            position += 1
            continue
        marker, start = data[position + 1], position + 4
        position += 2 + int.from_bytes(data[position + 2:start], "big")
        content, scan_start = data[start:position], position
        if marker == 0xDA:
            end = _JPEG_MARKER.search(data, position)
            position = end.start() if end else len(data)
        yield marker, content, data[scan_start:position]


def _has_zeroed_scan(data: bytes) -> bool:
    """Tell whether a JPEG holds 64 zero bytes in a row where pixels should be.

    Only in flat areas of files with Huffman tables of their own, zero bits may stand for "no more coefficients" (EOB).
    """
    sequential, ends_with_zeros, zeros_are_eob = True, False, {}
    for marker, content, scan in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            sequential = marker in (0xC0, 0xC1)
        while marker == 0xC4 and len(content) > 17:        # a Huffman table: its first symbol has the code of zero bits
            zeros_are_eob[content[0]] = content[17] == 0
            content = content[17 + sum(content[1:17]):]
        if marker == 0xDA:
            stripped = scan.rstrip(b"\0")                  # before a marker, zeros are padding
            tables = [0x10 | (content[2 * i + 2] & 15) for i in range(content[0])] if len(content) > 2 * content[0] else []
            if sequential and bytes(64) in stripped and not all(zeros_are_eob.get(table) for table in tables):
                return True
            ends_with_zeros = len(scan) - len(stripped) >= 64
            at_end = data.endswith(scan)
            if ends_with_zeros and at_end:
                return True
    return False


# ---------------------------------------------------------------- what is said

def _about_frames(kind: str, frames: int) -> str:
    advice = {"TIFF": "save the other pages as files of their own",
              "HEIF": "save the others as files of their own",
              "WEBP": "for all of them save it as GIF or MP4 and use video.Reader",
              "AVIF": "for all of them save it as GIF or MP4 and use video.Reader"}
    return f"only the first of {frames} frames is read: {advice.get(kind, 'for all of them use video.Reader')}"


def _explained(path: Path, problem: Exception) -> Exception:
    """Return the error to raise when Pillow fails on a file whose kind it knows."""
    if "memory" in str(problem).lower():
        return MemoryError()
    if re.search(r"[Uu]nsupported|not supported|not available|not implemented|limit|[Uu]nknown", str(problem)):
        return ValueError(f"{path} is of a kind that Pillow can't read here ({problem}): save it as JPEG or PNG")
    return ValueError(f"{path} can't be read completely ({problem}): copy or download the picture again")


def _unreadable(path: Path, data: bytes) -> ValueError:
    """Return the error to raise when neither library reads a file."""
    for start, suffix in _OTHER_STARTS.items():
        if data[:64].lstrip().startswith(start):
            return ValueError(f"{path} is {UNREADABLE_SUFFIXES[suffix]}")
    if data.startswith(b"\xff\xd8\xff"):
        for marker, content, _ in _jpeg_segments(data):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and content[:1] != b"\x08":
                return ValueError(f"{path} is a JPEG with {content[0]} bits per sample, which neither Pillow nor OpenCV reads: "
                                  "save it with 8 bits")
    if _PICTURE_START.match(data):
        return ValueError(f"{path} can't be read: it is incomplete, or of a kind that neither Pillow nor OpenCV knows. If "
                          "another program shows it, save it there as JPEG or PNG; otherwise copy or download it again")
    return ValueError(f"{path} is not a picture that Pillow or OpenCV can read ({len(data):,} bytes): try a JPEG or PNG")


def _float_samples(path: Path) -> ValueError:
    return ValueError(f"{path} has floating-point pixels, not grey levels 0..255: convert it to 8 bits and save it as PNG (for "
                      "values from 0 to 1, cv2.imwrite('new.png', (image * 255).round().astype('uint8')))")
