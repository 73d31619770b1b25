"""How many times faster is video.ExpressionTracker than the plain loop, and does it show the same?

    python tests/benchmark.py                    # about a minute
    python tests/benchmark.py --frames 10000     # also: does memory stay flat?

The plain loop detects faces in every frame with ssd, runs a network of the original's size (VGG13 with random weights,
which take the same time) and draws. Ours reads the same clip, tracks, classifies and draws. Then the labels and boxes of
ExpressionTracker are compared with those of our own loop that detects and classifies in every frame, and the time for
four faces with the time for one. Close other programs first: the figures are medians of interleaved runs.
"""
import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnx

import helpers
import video
from Model.vgg13 import build_vgg13

CLIP = helpers.ROOT / "Media" / "sad_to_happy.mp4"
PLAIN_FRAMES = 72     # the plain loop is slow, and so many frames are enough to time it


def plain_fps(network):
    """Return the frames per second of the plain loop: read, flip, detect, classify, draw."""
    helpers.init_emotion(network)
    began = time.perf_counter()
    with video.Reader(CLIP) as clip:
        for number, (_, frame) in enumerate(clip, 1):
            helpers.emotion(cv2.flip(frame, 1), returndata=True, confidence=0.8)
            if number == PLAIN_FRAMES:
                break
    return number / (time.perf_counter() - began)


def tracker_fps(**options):
    """(frames per second of our loop: read, ExpressionTracker, draw; the faces of each frame)."""
    helpers.init_emotion()
    answers, began = [], time.perf_counter()
    with video.Reader(CLIP) as clip, video.ExpressionTracker(**options) as tracker:
        for seconds, frame in clip:
            answers.append(tracker.update(frame, seconds))
            helpers.draw(frame, answers[-1])
    return len(answers) / (time.perf_counter() - began), answers


def agreement(answers, reference):
    """(fraction of frames with the same labels, fraction of boxes whose IoU with the reference's is 0.7 or more)."""
    same = [[f["label"] for f in a] == [f["label"] for f in b] for a, b in zip(answers, reference)]
    overlaps = [max((video.iou(f["box"], g["box"]) for g in a), default=0) for a, b in zip(answers, reference) for f in b]
    return float(np.mean(same)), float(np.mean(np.array(overlaps) >= 0.7))


def one_and_four_faces():
    """Return the milliseconds per frame of ExpressionTracker with one face, and with four, in a picture of the same size."""
    with video.Reader(CLIP) as clip:
        frames = [cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA) for _, frame in clip]
    blank = np.full_like(frames[0], 90)
    times = {1: [], 4: []}
    for _ in range(3):
        for count in times:
            with video.ExpressionTracker() as tracker:
                began = time.perf_counter()
                for number, frame in enumerate(frames):
                    tiles = [frame] * count + [blank] * (4 - count)
                    picture = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
                    faces = tracker.update(picture, number / 24)
                times[count].append((time.perf_counter() - began) / len(frames) * 1000)
            if len(faces) != count:
                raise RuntimeError(f"{len(faces)} faces found where there are {count}: the comparison would be unfair")
    return statistics.median(times[1]), statistics.median(times[4])


def memory_mb():
    """Resident memory of this process in MB, or None if it is unknown; only Linux reports it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def memory_growth(frames):
    """(MB after a tenth of the frames, MB after all): run the clip through ExpressionTracker and draw, over and over."""
    number, marks = 0, []
    with video.ExpressionTracker() as tracker:
        while number < frames:
            with video.Reader(CLIP) as clip:
                for seconds, frame in clip:
                    helpers.draw(frame, tracker.update(frame, seconds))
                    number += 1
                    if number in (frames // 10, frames):
                        marks.append(memory_mb())
                    if number == frames:
                        break
    return marks[0], marks[-1]


def compare(network, runs=3):
    """{name: figure} of everything but memory; `network` is a file with the original's architecture."""
    plain, ours = [], []
    for _ in range(runs):
        plain.append(plain_fps(network))
        fps, answers = tracker_fps()
        ours.append(fps)
    _, reference = tracker_fps(detect_every=0, classify_every=0)
    labels, boxes = agreement(answers, reference)
    one, four = one_and_four_faces()
    return {"plain_fps": statistics.median(plain), "tracker_fps": statistics.median(ours),
            "times_faster": statistics.median(ours) / statistics.median(plain), "same_labels": labels,
            "boxes_iou_0.7": boxes, "one_face_ms": one, "four_faces_ms": four}


def many_frames(text):
    """For argparse: a number of frames that is large enough to show whether memory grows."""
    if not text.isdecimal() or int(text) < 100:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of frames, 100 or more")
    return int(text)


def in_mb(memory):
    return "unknown here" if memory is None else f"{memory:.0f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=many_frames, help="also run this many frames, and compare memory before and after")
    parser.add_argument("--threads", type=int, default=2, help="number of OpenCV's threads")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "vgg13.onnx"
        onnx.save(build_vgg13(), network)
        figures = compare(network)
    print(f"plain loop {figures['plain_fps']:.1f} frames per second, ours {figures['tracker_fps']:.1f}: "
          f"{figures['times_faster']:.1f} times as fast ({args.threads} threads, OpenCV {cv2.__version__})")
    print(f"same labels as our every-frame loop on {figures['same_labels']:.1%} of the frames, "
          f"boxes with IoU 0.7 or more: {figures['boxes_iou_0.7']:.1%}")
    print(f"one face {figures['one_face_ms']:.1f} ms, four faces {figures['four_faces_ms']:.1f} ms per frame: "
          f"{figures['four_faces_ms'] / figures['one_face_ms']:.2f} times")
    if args.frames:
        before, after = memory_growth(args.frames)
        print(f"memory: {in_mb(before)} after {args.frames // 10} frames, {in_mb(after)} after {args.frames}")


if __name__ == "__main__":
    main()
