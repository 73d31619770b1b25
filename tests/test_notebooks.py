"""The notebooks as files: run in order, quiet, linked, described, small, and without traces of a particular machine."""
import json
import re

import pytest
from conftest import ROOT

import helpers

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / name for name in ("README.md", "docs/glossary.md", "Media/CREDITS.md", "Model/README.md", "tests/README.md")]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def text(cell):
    return "".join(cell["source"])


def prose(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n".join(text(cell) for cell in cells(path, "markdown"))


def test_the_series_is_complete():
    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1)) and len(NOTEBOOKS) >= 7


@each_notebook
def test_saved_after_a_full_run(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_outputs_are_quiet_and_clean(path):
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            assert output["output_type"] != "error", text(cell)
            assert output.get("name") != "stderr", text(cell)
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|Users|work|tmp)/|[A-Z]:\\\\", raw)
    assert path.stat().st_size < 1_000_000


@each_notebook
def test_windows_only_where_there_is_a_display(path):
    assert not any(re.search(r"cv2\.(imshow|namedWindow|waitKey)", text(cell)) for cell in cells(path, "code"))


def test_what_a_label_means_is_said_before_the_first_result():
    both = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    said = next(place for place, cell in enumerate(both) if "An expression is not an emotion" in text(cell))
    assert said < next(place for place, cell in enumerate(both)
                       if cell["cell_type"] == "code" and "helpers.emotion(" in text(cell))


@each_notebook
def test_cells_are_short_and_opt_outs_are_explained(path):
    for cell in cells(path, "code"):
        lines = [line for line in text(cell).splitlines() if line.strip()]
        assert 1 <= len(lines) <= 12, text(cell)
        assert "NBVAL" not in text(cell)                   # nbval reads it from the cell's tags, out of the reader's sight
        tags = cell["metadata"].get("tags", [])
        assert set(tags) <= {"nbval-ignore-output"}
        assert bool(tags) == lines[0].startswith("# Not compared by the tests: "), text(cell)


@each_notebook
def test_opening_and_closing(path):
    markdown = [text(cell) for cell in cells(path, "markdown")]
    assert re.match(rf"# {int(path.name[:2])}\. ", markdown[0])
    for part in ("**You will build**", "**You will learn to**", "**You need**", "minutes", "README.md"):
        assert part in markdown[0], part
    assert "## Exercises" in prose(path) and prose(path).count("<details>") >= 2
    assert prose(path).count("**Predict before you run.**") >= 1 and "## Further reading" in prose(path)
    assert "## What you have now" in markdown[-1]
    for end in (markdown[0], markdown[-1]):
        assert "../README.md#the-notebooks" in end and "../docs/glossary.md" in end
    for neighbour in (NOTEBOOKS.index(path) - 1, NOTEBOOKS.index(path) + 1):
        if 0 <= neighbour < len(NOTEBOOKS):
            assert NOTEBOOKS[neighbour].name in markdown[0] and NOTEBOOKS[neighbour].name in markdown[-1]


@each_notebook
def test_the_first_cell_finds_the_project(path):
    assert re.search(r"^import helpers$\n\n^os\.chdir\(helpers\.ROOT\) ", text(cells(path, "code")[0]), re.M)


@pytest.mark.parametrize("path", NOTEBOOKS + PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_pictures_are_described(path):
    words = prose(path)
    for description, target in re.findall(r"(!?\[[^\]]*\])\(([^)\s]+)\)", words):
        if description.startswith("!"):
            assert len(description) > 20, f"{target} needs alt text"
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            heads = [re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-")
                     for head in re.findall(r"^#+ (.+)$", prose(there), re.M)]
            assert anchor in heads, f"{path.name}: {target}"


def test_labels_are_always_in_the_same_order():
    """Seven or more different names in a row, in code, are the eight of helpers.EMOTIONS as they stand there."""
    code = {path.name: "\n".join(map(text, cells(path, "code"))) for path in NOTEBOOKS}
    code |= {path.name: path.read_text(encoding="utf-8") for folder in (".", "Model") for path in (ROOT / folder).glob("*.py")}
    name = rf"[\"']({'|'.join(helpers.EMOTIONS)})[\"']"
    orders = {(file, tuple(re.findall(name, row.group()))) for file, words in code.items()
              for row in re.finditer(rf"(?:{name}[^\"']*){{7,}}", words)}
    orders = {(file, order) for file, order in orders if len(set(order)) >= 7}
    assert ("helpers.py", helpers.EMOTIONS) in orders and {order for _, order in orders} == {helpers.EMOTIONS}


def test_the_readme_names_what_exists():
    words = prose(ROOT / "README.md")
    for path in NOTEBOOKS:
        assert path.name in words
    for name in re.findall(r"`((?:Model|Media|notebooks|tests)/[\w./-]*)`", words):
        assert (ROOT / name).exists() or "emotion-ferplus-8" in name, name


def test_the_table_of_reports_names_tests_that_exist():
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", prose(ROOT / "tests" / "README.md"))
    assert len(named) > 80
    assert not [(file, name) for file, name in named
                if f"def {name}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")]


def test_every_picture_is_credited():
    credits = prose(ROOT / "Media" / "CREDITS.md")
    files = [path for path in (ROOT / "Media").iterdir() if path.suffix != ".md"]
    assert len(files) >= 6
    for path in files:
        assert f"`{path.name}`" in credits
        assert path.stat().st_size < (3_000_000 if path.suffix in (".mp4", ".webm") else 300_000)
