"""Steady labels: match each face to its history, average over time, and change a label only for a clear lead.

Notebook 9 builds it.
"""
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from checks import check_faces, check_number, check_timestamp
from detectors import iou
from helpers import EMOTIONS, Face

HALF_LIFE = 0.25     # seconds after which an old frame counts half as much; measured in notebook 9
HYSTERESIS = 0.3     # a new label replaces the one shown if its probability is higher by more than this
MAX_GAP = 1.0        # seconds without the face after which its history is dropped


# ---------------------------------------------------------------- which box is which

def match_boxes(old: Sequence[Sequence[float]], new: Sequence[Sequence[float]], *, min_iou: float = 0.2) -> dict[int, int]:
    """Find out which new box continues which old one, largest overlap first.

    Parameters
    ----------
    old, new : sequence of boxes
        x, y, w, h each.
    min_iou : float
        Boxes match if their `iou` is larger than this.

    Returns
    -------
    dict of int
        {index in new: index in old}; boxes without a match are left out.

    Examples
    --------
    >>> match_boxes([[0, 0, 10, 10], [50, 0, 10, 10]], [[51, 0, 10, 10]])
    {0: 1}
    """
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(old) for j, b in enumerate(new)), reverse=True)
    matched: dict[int, int] = {}
    for overlap, i, j in pairs:
        if overlap > min_iou and i not in matched.values() and j not in matched:
            matched[j] = i
    return matched


# ---------------------------------------------------------------- steady labels

@dataclass
class _History:
    """What a LabelSmoother remembers of one face."""

    id: int
    box: list[int]
    seen: float                                      # seconds: the last frame with this face
    averaged: float = 0.0                            # seconds: the last frame in which it was classified
    average: npt.NDArray[np.float64] | None = None   # the averaged probabilities, in the order of EMOTIONS
    label: str | None = None                         # the label shown


class LabelSmoother:
    """Average each face's probabilities over time, and change its label only for a clear lead.

    Parameters
    ----------
    half_life : float
        Seconds after which an old frame counts half as much; 0 switches averaging off. Because it is in seconds, it means the
        same at any frame rate.
    hysteresis : float
        A new label replaces the one shown if its averaged probability is higher by more than this.
    max_gap : float
        Seconds without the face after which its history is dropped.

    Raises
    ------
    ValueError
        If one of them is not a number, or is negative.
    """

    def __init__(self, *, half_life: float = HALF_LIFE, hysteresis: float = HYSTERESIS, max_gap: float = MAX_GAP) -> None:
        self.half_life = check_number("half_life", half_life, "a number of seconds, 0 or more", low=0)
        self.hysteresis = check_number("hysteresis", hysteresis, "a difference in probability, 0 or more", low=0)
        self.max_gap = check_number("max_gap", max_gap, "a number of seconds, 0 or more", low=0)
        self._histories: list[_History] = []
        self._next_id, self._last = 0, -math.inf

    def state(self) -> dict[str, Any]:
        """Return the state of the smoother as JSON-serialisable data; see `restore`."""
        return {"histories": [{**asdict(history), "average": None if history.average is None else history.average.tolist()}
                              for history in self._histories], "next_id": self._next_id, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where another smoother was when its `state` was taken: the next results are exactly the same."""
        self._histories = [_History(**history) for history in state["histories"]]
        for history in self._histories:
            history.average = None if history.average is None else np.array(history.average)
        self._next_id, self._last = state["next_id"], state["last"]

    def clear(self) -> None:
        """Drop the histories of all faces. Their ids are not used again."""
        self._histories = []

    def update(self, faces: Sequence[Face], seconds: float) -> list[Face]:
        """Smooth the faces of the next frame.

        Parameters
        ----------
        faces : list of Face
            As `helpers.detect_emotions` returns them. A face without ``emotions`` was only located; its average stays.
        seconds : float
            Time of the frame. If it is earlier than before, because the clip starts again, all histories are dropped.

        Returns
        -------
        list of Face
            The same faces as new dicts: ``emotions`` averaged, ``label`` steady, ``probability`` the average of that
            label, and ``id``, an int that stays with the face.

        Raises
        ------
        TypeError, ValueError
            If these are not faces or `seconds` is not a finite number.
        """
        check_faces(faces, "LabelSmoother needs a list of faces")
        seconds = check_timestamp(seconds)
        if seconds < self._last:
            self.clear()
        self._histories = [history for history in self._histories if seconds - history.seen <= self.max_gap]
        matched = self._match(faces)
        self._last = seconds
        smoothed: list[Face] = []
        for j, face in enumerate(faces):
            history = matched.get(j)
            if history is None:
                history = _History(self._next_id, face["box"], seconds)
                self._next_id += 1
                self._histories.append(history)
            history.box, history.seen = face["box"], seconds
            if face.get("emotions"):
                self._average(history, face["emotions"], seconds)
            if history.average is None or history.label is None:
                smoothed.append({**face, "id": history.id})
            else:
                emotions = dict(zip(EMOTIONS, history.average.tolist()))
                smoothed.append({**face, "id": history.id, "label": history.label,
                                 "probability": emotions[history.label], "emotions": emotions})
        return smoothed

    def _match(self, faces: Sequence[Face]) -> dict[int, _History]:
        """Return {index in faces: history}.

        Faces of the last frame are matched first, so that a new face cannot take over the id of one that left.
        """
        matched: dict[int, _History] = {}
        for in_last_frame in (True, False):
            histories = [history for history in self._histories if (history.seen == self._last) == in_last_frame]
            left = [j for j in range(len(faces)) if j not in matched]
            pairs = match_boxes([history.box for history in histories], [faces[j]["box"] for j in left])
            matched.update({left[j]: histories[i] for j, i in pairs.items()})
        return matched

    def _average(self, history: _History, emotions: dict[str, float], seconds: float) -> None:
        now = np.array([emotions[name] for name in EMOTIONS])
        weight = 0.5 ** ((seconds - history.averaged) / self.half_life) if self.half_life else 0.0
        history.average = now if history.average is None else weight * history.average + (1 - weight) * now
        history.averaged = seconds
        best = EMOTIONS[int(history.average.argmax())]
        shown = history.average[EMOTIONS.index(history.label)] if history.label else -math.inf
        if history.average.max() - shown > self.hysteresis or not self.half_life:
            history.label = best
