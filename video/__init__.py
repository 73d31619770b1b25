"""Facial expressions on video, without flicker and fast: what a loop needs beyond helpers.py. Notebooks 8 and 9 build it::

    import helpers, video
    helpers.init_emotion()
    with video.Reader("Media/sad_to_happy.mp4") as clip, video.ExpressionTracker() as tracker:
        for seconds, frame in clip:
            faces = tracker.update(frame, seconds)      # a box, label, probability and id per face

Reader takes a file or a camera (reading.py), and Writer makes a clip that browsers play (writing.py). LabelSmoother
averages over time (smoothing.py). ExpressionTracker detects faces now and then, and tracks them in between (tracking.py).
play() shows the result in the notebook, play_window() in a window, and timeline() makes a table of it (player.py).
"""
import cv2  # noqa: F401  before PyAV: the other way round, the windows of OpenCV hang on Linux

from detectors import iou
from video.integrity import ClipWarning
from video.player import (
    INT_COLUMNS,
    TIMELINE_COLUMNS,
    FPSMeter,
    can_open_window,
    draw_fps,
    play,
    play_window,
    timeline,
    timeline_rows,
)
from video.reading import DEFAULT_FPS, MAX_DISPLAY_GAP, MAX_FAILED_READS, MAX_FPS, Reader
from video.smoothing import HALF_LIFE, HYSTERESIS, MAX_GAP, LabelSmoother, match_boxes
from video.stderr import silence_stderr
from video.tracking import (
    CLASSIFY_EVERY,
    DETECT_EVERY,
    MIN_CORRELATION,
    TRACK_ACTIVATION_THRESHOLD,
    TRACKING_FRAME_SIDE,
    ExpressionTracker,
    TemplateTracker,
)
from video.writing import MAX_VP9_PIXELS, MAX_VP9_SIDE, Writer

__all__ = ["CLASSIFY_EVERY", "DEFAULT_FPS", "DETECT_EVERY", "HALF_LIFE", "HYSTERESIS", "INT_COLUMNS", "MAX_FAILED_READS",
           "MAX_FPS", "MAX_DISPLAY_GAP", "MAX_GAP", "MAX_VP9_PIXELS", "MAX_VP9_SIDE", "MIN_CORRELATION",
           "TRACK_ACTIVATION_THRESHOLD", "TIMELINE_COLUMNS", "TRACKING_FRAME_SIDE", "ClipWarning", "ExpressionTracker",
           "FPSMeter", "LabelSmoother", "Reader", "TemplateTracker", "Writer", "can_open_window", "draw_fps", "iou",
           "match_boxes", "play", "play_window", "silence_stderr", "timeline", "timeline_rows"]
