"""Detect clips that are cut short, damaged, or only a single picture."""
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

_HOLE = 4096     # bytes; in an intact MKV, WebM or FLV file, less than that lies between two packets


class ClipWarning(UserWarning):
    """A clip can be used, but something is missing: it is cut short, damaged, a single picture, or its sound is lost."""


def find_damage(path: Path, frames: int, failed: int, seconds: float) -> str:
    """Compare what was read from a clip with what its file promises.

    This examines only the structure of the file and decodes nothing. So a few frames that are damaged but could be decoded
    go unnoticed.

    Parameters
    ----------
    path : pathlib.Path
        A clip that was read to its end.
    frames : int
        How many frames were read.
    failed : int
        How many reads failed between the first and the last of these frames.
    seconds : float
        Time of the last frame, counted from the first one.

    Returns
    -------
    str
        What is wrong, as the rest of a sentence that begins with the clip's name; empty if nothing is wrong.
    """
    try:
        with av.open(os.path.abspath(path), metadata_errors="replace") as container:
            return _compare(container, path.stat().st_size, frames, failed, seconds)
    except (av.error.FFmpegError, OSError):
        return "can't be checked: it is damaged, or was changed while it was read"


def _compare(container: InputContainer, size: int, frames: int, failed: int, seconds: float) -> str:
    track, kind = container.streams.video[0], container.format.name
    if track.disposition & Disposition.attached_pic:
        return "is an audio file: its only frame is the cover picture"
    brand = container.metadata.get("major_brand")
    if frames == 1 and (kind.endswith("_pipe") or kind in ("image2", "gif", "mjpeg") or brand in ("avif", "heic")):
        return "is a single picture, not a clip: helpers.read_image reads it"
    rate = float(track.average_rate or 25)
    stream, matroska = kind.startswith("mpeg"), kind.startswith("matroska")       # a stream promises nothing, it just ends
    promised = 0.0 if stream else _promised_length(track, rate, matroska)
    if not failed and not stream and (0 < track.frames <= frames or 0 < promised * rate <= frames + 1):
        return ""                                            # complete: no need to go through the whole file
    contents = _go_through(container)
    first, newest, end = contents.spans.get(track.index, (0.0, 0.0, 0.0))
    begin, tolerance = first, max(0.25, 1.5 / rate)
    if not promised and not stream:                          # there is only one length for all tracks: the sound may be longer
        promised = (container.duration or 0) / av.time_base
        begin = min((span[0] for span in contents.spans.values()), default=0.0)
        end = max((span[2] for span in contents.spans.values()), default=0.0)
        tolerance = max(0.25, 4 / rate)                      # some programs add the delay of reordered frames
    if matroska:
        begin = 0.0                                          # its lengths count from 0, even if the clip starts later
    missing = max(promised - max(end - begin, seconds + 1 / rate),       # what the file does not hold
                  newest - first - seconds)                              # what it holds, but could not be decoded
    if missing > tolerance:
        return f"ends after {seconds:.1f} of {max(promised, newest - first):.1f} s: the file is cut short or damaged"
    much = max(size // 50, 8 * _HOLE)
    if stream and size - contents.read > max(much, size // 10):
        return f"ends after {seconds:.1f} s, but {1 - contents.read / size:.0%} of the file comes after that: it is damaged"
    if failed or contents.broken or (matroska or kind == "flv") and contents.hole > _HOLE or stream and contents.hole > much:
        return "is damaged: some frames are missing or corrupt"
    return ""


def _promised_length(track: VideoStream, rate: float, matroska: bool) -> float:
    """Return how many seconds a track lasts according to the file, 0 if that is unknown."""
    if matroska:                                             # what FFmpeg calls the track's duration may be that of the file
        clock = re.fullmatch(r"(\d+):(\d\d):(\d\d(\.\d+)?)", track.metadata.get("DURATION", ""))
        return float(sum(float(clock[i + 1]) * unit for i, unit in enumerate((3600, 60, 1)))) if clock else 0.0
    return float(max((track.duration or 0) * (track.time_base or 0), track.frames / rate))


@dataclass
class _Contents:
    """The packets of a file: all that can be read of it."""

    spans: dict[int, tuple[float, float, float]] = field(default_factory=dict)    # of each track: first and last start, end
    read: int = 0              # bytes, the end of the last packet
    hole: int = 0              # bytes, the longest stretch between two packets
    broken: bool = False       # whether reading failed


def _go_through(container: InputContainer) -> _Contents:
    contents = _Contents()
    try:
        for packet in container.demux():
            if packet.pts is None or not packet.size:
                continue
            start = float(packet.pts * packet.time_base)
            end = start + float((packet.duration or 0) * packet.time_base)
            first, newest, last = contents.spans.get(packet.stream_index, (start, start, end))
            contents.spans[packet.stream_index] = min(first, start), max(newest, start), max(last, end)
            if packet.pos is not None:
                contents.hole = max(contents.hole, packet.pos - contents.read if contents.read else 0)
                contents.read = max(contents.read, packet.pos + packet.size)
    except (av.error.FFmpegError, OSError, IndexError):      # IndexError: damage that looks like one more track
        contents.broken = True
    return contents
