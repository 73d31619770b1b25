"""Check what the reader of a notebook wrote, and continue with a function that works.

Each notebook leaves one function for the reader to write::

    softmax = exercises.check(softmax, helpers.softmax, [1, 2, 3], [1000, 0])

prints ``right`` or ``not yet: softmax([1, 2, 3]) should be [0.09 0.24 0.67], yours returns None``.
"""
import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TOLERANCE = 1e-4        # relative and absolute: results that differ only by rounding are right
MAX_SHOWN = 12          # values: a larger array is described by its shape, type and mean
_lent: list[Any] = []   # what `check` returned in place of the reader's own, so that it is never checked as theirs


def check(yours: Any, ours: Any, *examples: Any, same_type: bool = False) -> Any:
    """Compare the reader's function with ours on some examples, and say what differs in one line.

    Parameters
    ----------
    yours : callable or value
        What the reader wrote. A value, such as a list of labels, is compared as it is, without examples.
    ours : callable or value
        What is known to be right.
    *examples
        The arguments to try: a tuple holds several arguments, everything else is one argument.
    same_type : bool
        Whether arrays must have the same dtype, too.

    Returns
    -------
    callable or value
        `yours` if it is right, otherwise `ours`, so that the rest of the notebook works either way.
    """
    if yours is ours or any(yours is lent for lent in _lent):
        print("not yet: this is ours. Run the cell with yours first; until yours is right, the notebook uses ours")
        return _lend(ours)
    if not callable(ours):
        problem = _difference(ours, yours).replace("yours returns", "yours is")
        print(f"not yet: {problem}" if problem else "right")
        return _lend(ours) if problem else yours
    name = getattr(yours, "__name__", "")
    name = name if name.isidentifier() else ours.__name__
    for example in examples:
        arguments = example if isinstance(example, tuple) else (example,)
        call = f"{name}({', '.join(_show(argument) for argument in arguments)})"
        expected = ours(*copy.deepcopy(arguments))
        given = copy.deepcopy(arguments)      # a function that changes its arguments must not spoil the next example
        try:
            answer = yours(*given)
        except Exception as problem:          # whatever the reader's code raises is part of the answer
            print(f"not yet: {call} should be {_show(expected)}, yours raises {type(problem).__name__}: {problem}")
            return _lend(ours)
        difference = _difference(expected, answer)
        if same_type and not difference and np.asarray(answer).dtype != np.asarray(expected).dtype:
            difference = f"should be of type {np.asarray(expected).dtype}, yours is {np.asarray(answer).dtype}"
        if difference:
            print(f"not yet: {call} {difference}")
            return _lend(ours)
    print(f"right: {name} agrees with ours on {len(examples)} example{'s' if len(examples) > 1 else ''}")
    return yours


def _lend(ours: Any) -> Any:
    _lent.append(ours)
    return ours


def _difference(expected: Any, answer: Any) -> str:
    """Say how the answer differs from what is expected; an empty string if it does not."""
    plain = f"should be {_show(expected)}, yours returns {_show(answer)}"
    if isinstance(answer, np.bool_):
        answer = bool(answer)
    if expected is None or isinstance(expected, str | bool):
        return "" if type(answer) is type(expected) and answer == expected else plain
    if isinstance(expected, Mapping):
        if not isinstance(answer, Mapping) or set(map(str, expected)) != set(map(str, answer)):
            return plain
        return next((f"at {key!r} {problem}" for key in expected if (problem := _difference(expected[key], answer[key]))), "")
    if isinstance(expected, Sequence) and not all(isinstance(item, int | float | np.number) for item in expected):
        if not isinstance(answer, Sequence | np.ndarray) or isinstance(answer, str):
            return plain
        if len(answer) != len(expected):
            return f"should have {len(expected)} items, yours has {len(answer)}"
        return next((f"at index {index} {problem}" for index, item in enumerate(expected)
                     if (problem := _difference(item, answer[index]))), "")
    try:
        values, target = np.asarray(answer, np.float64), np.asarray(expected, np.float64)
    except (TypeError, ValueError):
        return plain
    if isinstance(answer, bool) or values.shape != target.shape:
        return plain
    if np.allclose(values, target, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        return ""
    if values.size <= MAX_SHOWN:
        same = _show(expected) == _show(answer)
        return plain + (f", which differs by up to {np.nanmax(np.abs(values - target)):.1g}: don't round" if same else "")
    where = tuple(int(index) for index in np.unravel_index(np.nanargmax(np.abs(values - target)), target.shape))
    return f"at {list(where)} should be {target[where]:.4g}, yours returns {values[where]:.4g}"


def _show(value: Any) -> str:
    """Write a value in a few characters: numbers with the digits that matter, large arrays by shape and mean."""
    if isinstance(value, np.ndarray) and value.size > MAX_SHOWN:
        return f"<{' x '.join(map(str, value.shape))} {value.dtype}, mean {value.mean():.4g}>"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=2, separator=" ", suppress_small=True).replace("\n", "")
    if isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple) and len(value) <= MAX_SHOWN:
        inside = ", ".join(map(_show, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, list | tuple):
        return f"<{len(value)} values: {', '.join(map(_show, value[:3]))}, …>"
    return getattr(value, "__name__", None) or repr(value)
