"""What readers are told about their functions, and that the stub, our solution and the rest of each notebook agree."""
import contextlib
import io
import json
import re

import numpy as np
import pytest
from conftest import ROOT

import exercises
import helpers

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def last(numbers):
    return numbers.pop()


def named(votes):
    return {"winner": max(votes, key=votes.get), "counts": max(votes.values()) > 2}


@pytest.mark.parametrize("yours, ours, examples, words", [
    (lambda s: None, helpers.softmax, [[1, 2, 3]], "not yet: softmax([1, 2, 3]) should be [0.09 0.24 0.67], yours returns None"),
    (lambda s: 1 / 0, helpers.softmax, [[1, 2, 3]],
     "not yet: softmax([1, 2, 3]) should be [0.09 0.24 0.67], yours raises ZeroDivisionError: division by zero"),
    (lambda s: np.exp(s) / np.exp(s).sum(), helpers.softmax, [[1, 2, 3], [800, 0]],
     "not yet: softmax([800, 0]) should be [1. 0.], yours returns [nan  0.]"),
    (lambda s: np.exp(s) / np.exp(s).sum(), helpers.softmax, [[1, 2, 3]], "right: softmax agrees with ours on 1 example"),
    (lambda s: list(np.exp(s) / np.exp(s).sum()), helpers.softmax, [[1, 2, 3]], "right: softmax agrees with ours on 1 example"),
    (lambda n: n[-1], last, [[1, 2], [3]], "right: last agrees with ours on 2 examples"),
    (lambda v: {"winner": "a", "counts": True}, named, [{"a": 3, "b": 1}, {"a": 1, "b": 4}],
     "not yet: named({'a': 1, 'b': 4}) at 'winner' should be 'b', yours returns 'a'"),
    (lambda v: {"winner": "a"}, named, [{"a": 3}], "not yet"),
    (lambda v: {"winner": "a", "counts": np.True_}, named, [{"a": 3}], "right"),
    (lambda f: f, helpers.preprocess, [np.zeros((9, 9, 3), np.uint8)],
     "should be <1 x 1 x 64 x 64 float32, mean 0>, yours returns <9 x 9 x 3 uint8, mean 0>"),
    (lambda f: helpers.preprocess(f) / 255, helpers.preprocess, [np.full((9, 9, 3), 100, np.uint8)],
     "at [0, 0, 0, 0] should be 100, yours returns 0.3922"),
    (lambda f: helpers.preprocess(f).astype(np.float64), helpers.preprocess, [np.zeros((9, 9, 3), np.uint8)], "right"),
    (lambda v: {"counts": True, "winner": "a"}, named, [{"a": 3}], "right"),
    ([], helpers.EMOTIONS, [], "not yet: should have 8 items, yours has 0"),
    (None, helpers.EMOTIONS, [], "not yet: should be ('Neutral', 'Happy', 'Surprise', 'Sad', 'Anger', 'Disgust', 'Fear', 'Contempt')"),
    (sorted(helpers.EMOTIONS), helpers.EMOTIONS, [], "not yet: at index 0 should be 'Neutral', yours is 'Anger'"),
    (list(helpers.EMOTIONS), helpers.EMOTIONS, [], "right"),
    (3, 0.5, [], "not yet: should be 0.5, yours is 3"),
])
def test_one_line_says_what_differs_and_the_right_function_is_used(capsys, yours, ours, examples, words):
    kept = exercises.check(yours, ours, *examples)
    said = capsys.readouterr().out
    assert words in said and said.count("\n") == 1
    assert kept is (yours if said.startswith("right") else ours)


def test_several_arguments_and_examples_that_a_function_changes(capsys):
    def scaled(values, factor):
        return [value * factor for value in values]

    def careless(values, factor):
        values[0] = 0
        return [value * factor for value in values]

    example = ([1, 2], 3)
    assert exercises.check(lambda values, factor: [factor * value for value in values], scaled, example) is not scaled
    assert exercises.check(careless, scaled, example, example) is scaled
    assert "right" in capsys.readouterr().out
    exercises.check(careless, scaled, example)
    assert example == ([1, 2], 3)                                     # nobody's argument was changed
    assert "careless([1, 2], 3) should be [3, 6], yours returns [0, 6]" in capsys.readouterr().out


def test_our_function_is_never_checked_as_the_readers(capsys):
    def halved(values):
        return values / 2

    for ours, wrong in ((halved, lambda values: None), (("a", "b"), ("b", "a"))):
        kept = exercises.check(wrong, ours, np.ones(2)) if callable(ours) else exercises.check(wrong, ours)
        assert kept is ours
        for _ in range(2):                                            # the check cell is run again, the reader's is not
            kept = exercises.check(kept, ours, np.ones(2)) if callable(ours) else exercises.check(kept, ours)
            assert kept is ours
        assert capsys.readouterr().out.count("not yet: this is ours. Run the cell with yours first") == 2
    right = lambda values: values * 0.5                               # noqa: E731
    assert exercises.check(exercises.check(right, halved, np.ones(2)), halved, np.ones(2)) is right
    assert capsys.readouterr().out.count("right: halved agrees") == 2


def test_the_type_counts_where_it_matters(capsys):
    face = np.zeros((9, 9, 3), np.uint8)
    exercises.check(lambda f: helpers.preprocess(f).astype(np.float64), helpers.preprocess, face, same_type=True)
    exercises.check(lambda f: helpers.preprocess(f) + 1.0, helpers.preprocess, face, same_type=True)
    first, second = capsys.readouterr().out.splitlines()
    assert "should be of type float32, yours is float64" in first and "should be 0, yours returns 1" in second


def test_a_rounded_answer_is_told_apart_from_the_expected_one(capsys):
    exercises.check(lambda s: np.round(helpers.softmax(s), 3), helpers.softmax, [1, 2, 3])
    assert "which differs by up to 0.0003: don't round" in capsys.readouterr().out


def test_the_line_names_the_readers_function(capsys):
    def to_input(face):
        return None

    exercises.check(to_input, helpers.preprocess, np.zeros((64, 64, 3), np.uint8))
    assert capsys.readouterr().out.startswith("not yet: to_input(")


# ---------------------------------------------------------------- the exercises of the notebooks

def exercise(path):
    """The code of a notebook's first cell, stub, check, and of the folded solution."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    (stub,) = [index for index, (kind, text) in enumerate(cells) if kind == "code" and "# YOUR CODE HERE" in text]
    check = next(index for index in range(stub, len(cells)) if "exercises.check(" in cells[index][1])
    solution = next(text for kind, text in cells[check:] if kind == "markdown" and "<summary>Solution</summary>" in text)
    first = next(text for kind, text in cells if kind == "code")
    (code,) = re.findall(r"<summary>Solution</summary>\n\n```python\n(.*?)```", solution, re.S)
    return first, cells[stub][1], cells[check][1], code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("filled", [False, True], ids=["stub", "solution"])
def test_the_stub_is_not_yet_right_and_the_solution_is(path, filled, monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")
    first, stub, check, solution = exercise(path)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(f"{first}\n{solution if filled else stub}\n{check}", {"__name__": "notebook"})
    said = [line for line in told.getvalue().splitlines() if line.startswith(("right", "not yet"))]
    assert said and all(line.startswith("right" if filled else "not yet") for line in said), said
