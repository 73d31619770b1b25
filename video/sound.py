"""Convert the sound of a clip for a written copy of the clip."""
import contextlib
import itertools
import os
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet

from video.integrity import ClipWarning

_RATE = 48000     # samples per second; Opus supports no higher rate
_PIECE = 960      # samples, 20 ms: as much as Opus compresses at once


def copy_sound(path: Path, output: OutputContainer, seconds: float) -> Generator["Packet[AudioStream]", None, None]:
    """Convert the sound of a clip to Opus, piece by piece, on demand.

    Parameters
    ----------
    path : pathlib.Path
        The clip.
    output : av.container.OutputContainer
        Where the packets will go. It gets a track for them before the first one is yielded.
    seconds : float
        Where the copy begins, counted from the clip's first frame.

    Yields
    ------
    av.packet.Packet
        20 ms each, with its time in the copy. Nothing is yielded if the clip has no sound, or if the sound
        can't be decoded; in that case, a `ClipWarning` says so.
    """
    name = os.path.abspath(path)
    try:
        with av.open(name, metadata_errors="replace") as clip:
            picture = next(_decode(clip, clip.streams.video[0]), None)
        with av.open(name, metadata_errors="replace") as clip:
            if not clip.streams.audio:
                return
            frames = _decode(clip, clip.streams.best("audio"))
            first = next(frames, None)
            if first is None or picture is None:
                raise ValueError("it can't be decoded")
            track = output.add_stream("libopus", rate=_RATE, layout="mono" if first.layout.nb_channels == 1 else "stereo")
            graph = _resampler(first, track.codec_context)
            for frame in itertools.chain([first], frames):
                if frame.pts is not None:                    # both tracks count time from the same starting point
                    frame.pts -= round((picture.time + seconds) / frame.time_base)
                yield from _encode(track, graph, frame)
            yield from _encode(track, graph, None)
    except (av.error.FFmpegError, OSError, ValueError) as problem:
        warnings.warn(f"the sound of {path} can't be copied: {problem}", ClipWarning, stacklevel=3)


def _decode(clip: InputContainer, track: Any) -> Iterator[Any]:
    """Decode one track, without the packets that are damaged."""
    if track.codec_context is None:                          # some versions of PyAV end the process if they try
        raise ValueError("its codec is unknown")
    for packet in clip.demux(track):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _resampler(frame: AudioFrame, encoder: AudioCodecContext) -> Graph:
    """Make a graph that turns sound like this frame into pieces for the encoder, starting at time 0 and without gaps."""
    graph = Graph()
    graph.link_nodes(
        graph.add("abuffer", sample_rate=str(frame.sample_rate), sample_fmt=frame.format.name,
                  channel_layout=frame.layout.name, time_base=str(frame.time_base)),
        graph.add("aresample", f"{_RATE}:async=1:first_pts=0"),          # fills gaps with silence, drops what lies before 0
        graph.add("aformat", sample_fmts=encoder.format.name, channel_layouts=encoder.layout.name),
        graph.add("abuffersink")).configure()
    graph.set_audio_frame_size(_PIECE)
    return graph


def _encode(track: AudioStream, graph: Graph, frame: AudioFrame | None) -> Iterator["Packet[AudioStream]"]:
    graph.push(frame)
    with contextlib.suppress(BlockingIOError, EOFError):                 # the graph wants more, or is at its end
        while isinstance(piece := graph.pull(), AudioFrame):
            yield from track.encode(piece)
    if frame is None:
        yield from track.encode(None)
