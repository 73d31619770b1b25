"""Model/: votes become the right labels, the two tables are joined row by row, the report counts correctly."""
import copy
import csv
import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, run_main

import helpers
from Model import agreement, damage, evaluate, ferplus, prepare


def votes(**counts):
    return [counts.get(name, 0) for name in ferplus.VOTE_COLUMNS]


# ------------------------------------------------------------------ label rules

@pytest.mark.parametrize("row, label", [
    (votes(Happy=10), 1), (votes(Neutral=6, Sad=4), 0), (votes(Neutral=5, Sad=5), -1),
    (votes(Neutral=4, Sad=1, Anger=3, Disgust=2), -1),
    (votes(Fear=3, Surprise=2, Sad=1, Anger=1, Happy=1, Neutral=1, Disgust=1), 6),     # single votes are dropped
    (votes(Unknown=6, Happy=4), -1), (votes(NotAFace=10), -1), (votes(Happy=5, Unknown=5), -1),
    (votes(**dict.fromkeys(ferplus.EMOTIONS, 1)), -1), (votes(), -1)])
def test_the_majority_rule(row, label):
    assert ferplus.majority_labels(np.array([row], np.uint8)).tolist() == [label]


def test_soft_targets():
    rows = np.array([votes(Neutral=6, Sad=3, Happy=1), votes(Unknown=8, Sad=2), votes(Happy=2, Sad=2, Unknown=2)], np.uint8)
    targets, keep = ferplus.soft_targets(rows)
    assert keep.tolist() == [True, False, True]
    assert np.allclose(targets[0], [2 / 3, 0, 0, 1 / 3, 0, 0, 0, 0])
    assert targets[1].sum() == 0 and np.allclose(targets[2][[1, 3]], 0.5)


def test_one_list_of_labels():
    assert ferplus.EMOTIONS is helpers.EMOTIONS


# ------------------------------------------------------------------ prepare.py

def tables(folder, change=lambda faces, votes: None):
    """Ten uniformly grey faces (20, 40, ...), rows 5 and 6 without a name, row 8 without a picture."""
    faces = [{"emotion": 0, "pixels": " ".join([str(20 * (i + 1))] * 2304),
              "Usage": "Training" if i < 6 else "PublicTest" if i < 9 else "PrivateTest"} for i in range(10)]
    none = dict.fromkeys(prepare.CSV_VOTE_COLUMNS, 0)
    rows = [{"Usage": face["Usage"], "Image name": f"fer{i:07}.png", **none, "sadness": i} for i, face in enumerate(faces)]
    rows[4]["Image name"] = rows[5]["Image name"] = ""
    faces[7]["pixels"] = ""
    change(faces, rows)
    for name, table in (("fer2013.csv", faces), ("fer2013new.csv", rows)):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)


def run_prepare(folder, *options):
    arguments = options or ("--fer2013", str(folder / "fer2013.csv"), "--ferplus", str(folder / "fer2013new.csv"))
    return run_main(prepare.main, *arguments, "--out", folder / "out")


@pytest.mark.slow
def test_scripts_start_in_any_folder(tmp_path):
    scripts = [path for path in sorted((ROOT / "Model").glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    skipped = [] if importlib.util.find_spec("torch") else ["average.py", "train.py"]
    running = [subprocess.Popen([sys.executable, script, "--help"], cwd=tmp_path, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for script in scripts if script.name not in skipped]
    said = {process.args[1].name: process.communicate()[0] for process in running}
    assert len(said) >= 6 and not {name: words for name, words in said.items() if not words.startswith("usage: ")}


def test_each_face_keeps_its_own_votes(tmp_path):
    tables(tmp_path)
    done = run_prepare(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no image name: 2" in done.stdout and "no picture: 1" in done.stdout
    kept = {}
    for split in ("train", "valid", "test"):
        images, counts = ferplus.load_split(tmp_path / "out", split)
        kept[split] = [(int(image[0, 0]) // 20 - 1, int(row[3])) for image, row in zip(images, counts)]
        assert all(np.ptp(image) == 0 for image in images)
    assert kept == {"train": [(i, i) for i in (0, 1, 2, 3)], "valid": [(6, 6), (8, 8)], "test": [(9, 9)]}


@pytest.mark.parametrize("change, words", [
    (lambda faces, rows: rows.pop(), "10 faces, 9 rows"),
    (lambda faces, rows: rows.insert(0, rows.pop()), "row 1 is 'Training'"),
    (lambda faces, rows: rows.insert(3, copy.copy(rows[2])) or rows.pop(1), "row 2 has the image name 'fer0000002.png'"),
    (lambda faces, rows: rows.append(copy.copy(rows.pop(2))), "row 3 has the image name 'fer0000003.png'"),
    (lambda faces, rows: rows[2].update({"Image name": "fer0000001.png"}), "row 3 has the image name 'fer0000001.png'"),
    (lambda faces, rows: rows[2].update({"Image name": "sad.png"}), "row 3 has the image name 'sad.png'"),
    (lambda faces, rows: rows[0].update({"Image name": "fer0000003.png"}), "row 1 has the image name 'fer0000003.png'"),
    (lambda faces, rows: faces[2].update(pixels="1 2 3"), "row 3"),
    (lambda faces, rows: faces[2].update(pixels="a b"), "row 3"),
    (lambda faces, rows: faces[2].update(pixels=" ".join(["256"] * 2304)), "row 3"),
    (lambda faces, rows: rows[2].update(anger="x"), "row 3"),
    (lambda faces, rows: [row.pop("NF") for row in rows], "NF")])
def test_tables_that_do_not_fit_stop_the_script(change, words, tmp_path):
    tables(tmp_path, change)
    done = run_prepare(tmp_path)
    assert done.returncode == 2 and words in done.stderr
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("lost", range(10))
def test_a_lost_row_and_a_duplicated_one_stop_the_script(lost, tmp_path):
    """All faces belong to one part, so that only the image names can tell; rows 5 and 6 have none."""
    def change(faces, rows):
        for row in faces + rows:
            row["Usage"] = "Training"
        rows[8:8] = [rows.pop(lost)] if lost == 9 else []     # the last row can't be lost and duplicated: it is moved
        if lost < 9:
            del rows[lost]
            rows.append(copy.copy(rows[-1]))

    tables(tmp_path, change)
    done = run_prepare(tmp_path)
    first = 6 if lost in (3, 4, 5) else lost + 1         # rows 5 and 6 could have used up the number of row 4
    assert done.returncode == 2 and f"FER+ row {min(first, 9)} has the image name" in done.stderr


def test_the_quirks_of_the_published_table_are_accepted():
    """Only some rows without a name use up a number, and a few rows have the name of another row far away."""
    names = [f"fer{number:07}.png" for number in range(200)]
    for quirk in ("", names[150]):
        assert prepare.first_misplaced_row(names[:3] + [quirk] + names[3:]) is None
        assert prepare.first_misplaced_row(names[:3] + [quirk] + names[4:]) is None
        assert prepare.first_misplaced_row(names[:3] + [quirk] + names[5:]) == 5
    assert prepare.first_misplaced_row(["", *names]) is None and prepare.first_misplaced_row(names[2:]) == 1


def test_swapped_and_missing_tables(tmp_path):
    tables(tmp_path)
    new, old = str(tmp_path / "fer2013new.csv"), str(tmp_path / "fer2013.csv")
    assert "swapped" in run_prepare(tmp_path, "--fer2013", new, "--ferplus", old).stderr
    assert "no table at" in run_prepare(tmp_path, "--fer2013", old, "--ferplus", "gone.csv").stderr


def test_your_own_pictures_become_arrays(tmp_path):
    for folder, expression, picture in (("mine", "Happy", "obama.jpg"), ("mine", "sad", "astronaut.jpg"),
                                        ("others", "Happy", "astronaut.jpg")):
        (tmp_path / folder / expression).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "Media" / picture, tmp_path / folder / expression)
    (tmp_path / "mine" / "Happy" / "broken.jpg").write_bytes(b"no picture")
    tables(tmp_path)
    assert run_prepare(tmp_path).returncode == 0
    (tmp_path / "out").rename(tmp_path / "arrays")
    mine, others, arrays = (str(tmp_path / name) for name in ("mine", "others", "arrays"))

    done = run_prepare(tmp_path, "--pictures", mine, "--aside", others, "--arrays", arrays)
    assert done.returncode == 0 and "broken.jpg: " in done.stdout, done.stderr
    images, votes = ferplus.load_split(tmp_path / "out", "train")
    assert len(images) == 6 and ferplus.majority_labels(votes[4:]).tolist() == [1, 3]     # four of FER+, then yours
    image = helpers.read_image(ROOT / "Media" / "obama.jpg")
    expected = helpers.preprocess(helpers.crop_face(image, helpers.detect_faces(image)[0]["box"]))[0, 0]
    again = helpers.preprocess(images[4])[0, 0]
    assert np.abs(again - expected).mean() < 8 < np.abs(again - helpers.preprocess(images[5])[0, 0]).mean()
    assert ferplus.load_majority(tmp_path / "out", "valid")[1].tolist() == [1]

    assert run_prepare(tmp_path, "--pictures", mine, "--arrays", arrays).returncode == 0
    assert len(ferplus.load_split(tmp_path / "out", "valid")[0]) == 2         # those of FER+


@pytest.mark.parametrize("options, words", [
    (["--pictures", "mine"], "--aside"), (["--fer2013", "a.csv"], "or --pictures"), ([], "or --pictures"),
    (["--pictures", "gone", "--aside", "gone"], "no folder at"),
    (["--pictures", "mine", "--arrays", "out"], "would be lost")])
def test_your_own_pictures_that_can_not_be_used(options, words, tmp_path):
    options = [option if option.startswith("--") else str(tmp_path / option) for option in options]
    done = run_main(prepare.main, *options, "--out", tmp_path / "out")
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ evaluate.py

def test_the_report_counts():
    result = evaluate.report(np.array([0, 0, 0, 1, 1, 7]), np.eye(8)[[0, 0, 3, 1, 0, 7]])
    assert result["accuracy"] == 4 / 6 and result["recall"]["Neutral"] == 2 / 3 and result["recall"]["Fear"] is None
    assert result["mean_recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert result["precision"]["Neutral"] == 2 / 3 and result["precision"]["Sad"] == 0
    assert result["precision"]["Disgust"] is None
    assert result["confusion"][0][3] == 1 and result["confusion"][1][0] == 1 and result["counts"]["Contempt"] == 1


def test_calibration_by_hand():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    probabilities = np.stack([confidence, 1 - confidence] + [np.zeros(6)] * 6, 1)
    result = evaluate.calibration(np.array([0, 0, 0, 1, 0, 1]), probabilities)      # 3 of 4 correct at 0.9, 1 of 2 at 0.6
    assert [b["faces"] for b in result["bins"]] == [2, 4] and [b["right"] for b in result["bins"]] == [0.5, 0.75]
    assert result["ece"] == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)
    assert evaluate.calibration(np.array([0]), np.eye(8)[:1])["ece"] == 0           # confident and correct


@pytest.mark.parametrize("kind, amount, box", [
    ("shift", 0.0, (10, 30, 20, 40)), ("shift", 0.25, (22, 42, 32, 52)), ("scale", 1.0, (10, 30, 20, 40)),
    ("scale", 0.5, (17, 27, 22, 32)), ("squash", 0.5, (10, 30, 22, 32)), ("squash", 1.0, (10, 30, 20, 40))])
def test_transformed_faces_have_their_parts_where_they_should(kind, amount, box):
    face = np.zeros((48, 48), np.uint8)
    face[10:30, 20:40] = 255
    rows, columns = np.nonzero(evaluate.transform(face, kind, amount) > 127)
    top, bottom, left, right = box
    found = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    expected = [top, min(bottom, 48), left, min(right, 48)]
    assert np.abs(np.subtract(found, expected)).max() <= 1


@pytest.mark.slow
def test_evaluate_runs_as_documented(tmp_path, network_saying):
    """A network that always predicts Sad, on four faces: two have the majority label Sad, one Happy, and one none."""
    rows = [votes(Sad=9), votes(Sad=6, Happy=4), votes(Happy=10), votes(Sad=5, Happy=5)]
    np.savez(tmp_path / "ferplus_valid.npz", images=np.zeros((4, 48, 48), np.uint8), votes=np.array(rows, np.uint8),
             names=np.array(list("abcd")))
    model = network_saying([0, 0, 0, 5, 0, 0, 0, 0], batch="N")
    done = subprocess.run([sys.executable, str(ROOT / "Model" / "evaluate.py"), "--data", str(tmp_path), "--split", "valid",
                           "--robustness", "--json", str(tmp_path / "out.json"), str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["faces"] == 3 and result["accuracy"] == 2 / 3 and result["recall"]["Sad"] == 1
    assert result["recall"]["Happy"] == 0 and result["recall"]["Fear"] is None and result["ms_per_face"] > 0
    assert "accuracy 66.67%" in done.stdout and "times as fast" in done.stdout
    assert set(result["robustness"]) == {"shift", "scale", "squash"} and 0 <= result["calibration"]["ece"] <= 1
    assert result["robustness"]["shift"]["0.0"] == result["robustness"]["scale"]["1.0"] == result["accuracy"]


@pytest.mark.parametrize("arrays, words", [
    ({"images": np.zeros((2, 48, 48), np.uint8)}, "lacks"),
    ({"images": np.zeros((2, 64, 64), np.uint8), "votes": np.zeros((2, 10), np.uint8)}, "images are"),
    ({"images": np.zeros((2, 48, 48), np.uint8), "votes": np.zeros((3, 10), np.uint8)}, "votes are")])
def test_splits_that_do_not_fit(arrays, words, tmp_path):
    np.savez(tmp_path / "ferplus_valid.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        ferplus.load_split(tmp_path, "valid")
    with pytest.raises(FileNotFoundError, match="prepare.py"):
        ferplus.load_split(tmp_path, "test")


# ------------------------------------------------------------------ agreement.py

def test_one_against_nine_by_hand():
    """10 Happy: all ten agree. 6 Neutral, 4 Sad: the other nine always say Neutral. 5 and 5: they always say the opposite."""
    rows = np.array([votes(Happy=10), votes(Neutral=6, Sad=4), votes(Neutral=5, Sad=5), votes(Unknown=10)], np.uint8)
    result = agreement.leave_one_out_agreement(rows)
    assert result["votes"] == 30 and result["agreement"] == pytest.approx(16 / 30)
    assert result["recall"] == dict.fromkeys(helpers.EMOTIONS) | {"Happy": 1, "Neutral": 6 / 15, "Sad": 0}
    assert result["mean_recall"] == pytest.approx((1 + 6 / 15 + 0) / 3)


def test_five_against_five_by_hand():
    """10 Happy: both halves agree. A single Sad vote is dropped. 5 and 5: the halves can only contradict each other."""
    rows = np.array([votes(Happy=10), votes(Neutral=9, Sad=1), votes(Surprise=5, Sad=5), votes(Unknown=10)], np.uint8)
    result = agreement.split_half_agreement(rows, repeats=3)
    assert result["votes"] == 9 and result["agreement"] == pytest.approx(6 / 9)
    assert result["recall"]["Happy"] == 1 and result["recall"]["Neutral"] == 1 and result["recall"]["Sad"] in (0, None)
    assert result == agreement.split_half_agreement(rows, repeats=3)
    assert agreement.split_half_agreement(rows[3:])["votes"] == 0


# ------------------------------------------------------------------ damage.py

@pytest.fixture
def noisy_faces():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)


@pytest.mark.parametrize("name", damage.CORRUPTIONS)
def test_corruptions_keep_shape_and_type_and_have_a_seed(name, noisy_faces):
    before = noisy_faces.copy()
    first = damage.corrupt(noisy_faces, name, seed=1)
    assert first.shape == (3, 48, 48) and first.dtype == np.uint8 and (noisy_faces == before).all()
    assert (first != noisy_faces).any(axis=(1, 2)).all()
    assert (first == damage.corrupt(noisy_faces, name, seed=1)).all()
    assert (first == damage.corrupt(noisy_faces, name, seed=2)).all() == (not name.startswith("noise"))


def test_rotation_is_counterclockwise_about_the_centre():
    face = np.zeros((48, 48), np.float32)
    face[23:25, 38:40] = 200                                  # 15 pixels to the right of the centre
    turned = damage.rotate(face, 30)
    rows, columns = np.mgrid[:48, :48]
    centre = [(turned * axis).sum() / turned.sum() for axis in (rows, columns)]
    assert centre == pytest.approx([23.5 - 15 * 0.5, 23.5 + 15 * 3 ** 0.5 / 2], abs=0.2)


def test_covered_rows_are_exactly_these(noisy_faces):
    face = noisy_faces[0].astype(np.float32)
    covered = damage.cover_rows(face, 32, 47)
    assert (covered[32:48] == face.mean()).all() and (covered[:32] == face[:32]).all()
    mouth, eyes = (damage.corrupt(noisy_faces, name)[0] for name in ("mouth covered", "eyes covered"))
    assert (mouth[32:] == round(face.mean())).all() and (mouth[:32] == noisy_faces[0, :32]).all()
    assert (eyes[12:23] == round(face.mean())).all() and (eyes[:12] == noisy_faces[0, :12]).all()
    assert (eyes[23:] == noisy_faces[0, 23:]).all()


class OneKind:
    """A random generator that makes `damage.damage` choose a single kind of damage."""
    def __init__(self, kind, seed):
        self.rng, self.kind, self.asked = np.random.default_rng(seed), kind, 0

    def __getattr__(self, name):
        self.asked += 1
        return {1: lambda count: np.ones(count), 2: lambda count: self.kind}.get(self.asked, getattr(self.rng, name))


@pytest.mark.parametrize("kind", range(6))
def test_every_kind_of_damage_keeps_shape_and_type(kind, noisy_faces):
    for seed in range(20):
        before = noisy_faces[0].copy()
        after = damage.damage(noisy_faces[0], OneKind(kind, seed))
        assert after.shape == (48, 48) and after.dtype == np.uint8
        assert (after != before).any() and (noisy_faces[0] == before).all()


# ------------------------------------------------------------------ train.py, where torch is installed

def random_split(folder, count, *, seed=0):
    """FER+ files of random faces, each with ten votes for one random expression."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 10), np.uint8)
    rows[np.arange(count), rng.integers(0, 8, count)] = 10
    for split in ("train", "valid"):
        np.savez(folder / f"ferplus_{split}.npz", images=rng.integers(0, 256, (count, 48, 48)).astype(np.uint8), votes=rows)


def test_training_resumes_from_the_checkpoint_and_exports(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import train
    random_split(tmp_path, 256)

    def run(name, epochs=2):
        sys.argv = ["train.py", "--data", str(tmp_path), "--run", str(tmp_path / name), "--epochs", str(epochs),
                    "--out", str(tmp_path / f"{name}.onnx")]
        train.main()

    run("whole")
    saved = train.save_atomically
    with pytest.MonkeyPatch.context() as patch:      # interrupted right after the first checkpoint
        def stop_after(write, path):
            saved(write, path)
            raise KeyboardInterrupt
        patch.setattr(train, "save_atomically", stop_after)
        with pytest.raises(KeyboardInterrupt):
            run("halves")
    assert not (tmp_path / "halves.onnx").exists()
    run("halves")
    blob = np.linspace(0, 255, 4096, dtype=np.float32).reshape(1, 1, 64, 64)
    whole, halves = (helpers.forward(helpers.load_network(tmp_path / f"{n}.onnx"), blob) for n in ("whole", "halves"))
    assert np.abs(whole - halves).max() < 1e-4
    assert torch.load(tmp_path / "halves" / "checkpoint.pt", weights_only=True)["epoch"] == 2


def test_training_with_teachers_starts_from_another_run(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import train
    random_split(tmp_path, 128)
    common = ["train.py", "--data", str(tmp_path), "--epochs", "1"]
    sys.argv = [*common, "--run", str(tmp_path / "alone"), "--out", str(tmp_path / "alone.onnx")]
    train.main()
    sys.argv = [*common, "--run", str(tmp_path / "taught"), "--out", str(tmp_path / "taught.onnx"),
                "--start", str(tmp_path / "alone" / "checkpoint.pt"),
                "--teachers", str(tmp_path / "alone.onnx"), str(ROOT / "Model" / "emotion-ferplus-small.onnx")]
    train.main()
    settings = torch.load(tmp_path / "taught" / "checkpoint.pt", weights_only=True)["settings"]
    assert len(settings["teachers"]) == 2 and settings["start"].endswith("checkpoint.pt")
    images = np.load(tmp_path / "ferplus_train.npz")["images"][:2]
    targets = train.distil_targets(np.eye(8, dtype=np.float32)[[0, 1]], images, [helpers.MODEL_PATH])
    assert np.allclose(targets.sum(1), 1) and (targets[[0, 1], [0, 1]] >= 0.5).all() and targets.dtype == np.float32
    votes = np.eye(8, dtype=np.float32)[[0, 1]]
    taught = train.distil_targets(votes, images, [helpers.MODEL_PATH], weight=0.9)
    assert np.allclose(taught, 0.9 / 0.5 * (targets - votes / 2) + 0.1 * votes, atol=1e-5)


@pytest.mark.parametrize("option, value", [("--damage", "1.5"), ("--damage", "nan"), ("--teacher-weight", "-0.1")])
def test_fractions_outside_0_to_1_are_refused(tmp_path, option, value):
    pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    code, said = start_training("--data", tmp_path, option, value)
    assert code == 2 and f"{option} must be a fraction from 0 to 1, not" in said


def test_the_fraction_that_is_damaged_can_be_chosen():
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import train
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (400, 48, 48)).astype(np.uint8))
    for fraction in (0, 0.3, 1):
        changed, damaged = train.damage_batch(faces, [0], fraction=fraction)
        assert abs(damaged.float().mean() - fraction) < 0.06
        assert (changed != faces).flatten(1).any(1)[damaged].float().mean() > 0.95 or not fraction
        assert (changed == faces)[~damaged].all()


def start_training(*options):
    from Model import train
    done = run_main(train.main, *options)
    return done.returncode, done.stdout + done.stderr


def test_too_few_faces_are_refused_with_an_explanation(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    random_split(tmp_path, 6)
    code, said = start_training("--data", tmp_path, "--run", tmp_path / "run")
    assert code == 2 and "6 training faces are left, too few for one batch of 64" in said
    code, said = start_training("--data", tmp_path / "gone", "--run", tmp_path / "run")
    assert code == 2 and "build it from the public tables" in said
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_resumed_with_other_data(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    random_split(tmp_path, 128)
    command = ("--data", tmp_path, "--run", tmp_path / "run", "--epochs", 1)
    shipped = helpers.MODEL_PATH.read_bytes()
    assert start_training(*command)[0] == 0
    assert (tmp_path / "run" / "network.onnx").is_file() and helpers.MODEL_PATH.read_bytes() == shipped
    assert "resuming after epoch 1" in start_training(*command)[1]

    code, said = start_training(*command, "--seed", 3)
    assert code == 2 and "belongs to a different run: seed was 0, now 3" in said
    kept = (tmp_path / "ferplus_train.npz").read_bytes()
    random_split(tmp_path, 128, seed=1)
    code, said = start_training(*command)
    assert code == 2 and "the faces in --data have changed. Choose another --run" in said

    (tmp_path / "ferplus_train.npz").write_bytes(kept)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["settings"]["data"]
    torch.save(state, checkpoint)
    code, said = start_training(*command)
    assert code == 2 and "did not record its training data" in said and "choose another --run" in said


def test_the_average_of_two_checkpoints_is_their_mean(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import average, train
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = train.ExpressionNet().state_dict()
        for value in state.values():
            if not value.is_floating_point():
                value.fill_(3)                                # the layers' counters of batches
        (tmp_path / str(seed)).mkdir()
        torch.save({"average": state}, tmp_path / str(seed) / "checkpoint.pt")
        states.append(state)
    faces = np.zeros((0, 48, 48), np.uint8)                   # only ONNX files need some
    runs = [tmp_path / "0", tmp_path / "1"]
    nets = [average.load_run(run, faces) for run in runs]
    mean = average.average_weights(nets).state_dict()
    assert set(mean) == set(states[0])
    for name, value in mean.items():
        assert value.dtype == states[0][name].dtype, name
        assert torch.allclose(value.double(), (states[0][name].double() + states[1][name].double()) / 2, atol=1e-6), name
    assert (states[0]["last.weight"] != states[1]["last.weight"]).any()
    mostly = average.average_weights(nets, weights=[3, 1]).state_dict()["last.weight"]
    assert torch.allclose(mostly, 0.75 * states[0]["last.weight"] + 0.25 * states[1]["last.weight"], atol=1e-6)


def test_averaged_networks_do_not_replace_the_shipped_one(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import average
    done = run_main(average.main, "--data", tmp_path, tmp_path / "gone")
    assert done.returncode == 2 and "no checkpoint.pt in" in done.stderr
    written = []
    random_split(tmp_path, 32)
    for name in ("load_run", "average_weights", "update_batch_norm", "accuracy", "fit_temperature"):
        monkeypatch.setattr(average, name, lambda *args, **options: 1.0)
    monkeypatch.setattr(average, "export", lambda net, path, **options: written.append(path))
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(FileNotFoundError):                    # the export is not made, so it has no size
        run_main(average.main, "--data", tmp_path, tmp_path)
    assert written == [ROOT / "Model" / "runs" / "averaged.onnx"]


def test_the_temperature_is_recovered():
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import train
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (4000, 8))
    labels = np.array([rng.choice(8, p=row) for row in helpers.softmax(scores)])
    found = train.fit_temperature(torch.nn.Identity(), torch.from_numpy(scores * 1.7), torch.from_numpy(labels))
    assert 1.6 < found < 1.8


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install -r Model/requirements.txt")
    from Model import train
    net = train.ExpressionNet()
    (tmp_path / "kept.onnx").write_bytes(b"before")
    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda n, *a, **k: real(train.ExpressionNet().eval(), *a, **k))
    with pytest.raises(RuntimeError, match="differ"):
        train.export(net, tmp_path / "kept.onnx")
    assert (tmp_path / "kept.onnx").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
