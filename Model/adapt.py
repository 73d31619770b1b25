"""Fit a new last layer of the network to your own pictures: in seconds, without a deep-learning framework.

    python Model/adapt.py --pictures DIR --out my.onnx          # DIR/Happy/*.jpg, DIR/Sad/*.jpg, ...

The layers before the last one turn a face into a few hundred numbers, its features. The last layer turns the features
into eight scores. Here all layers but the last stay as they are, and a multinomial logistic regression (scikit-learn)
finds new weights for the last one. The new file has the same interface, so helpers.init_emotion("my.onnx") loads it.

With about 80 pictures or more, a quarter of each class is held out, and the script measures the old and the new layer
on these pictures. If the same people are in both parts, the figures are too good: put pictures of other people into
another folder and name it with --test. Classes with few pictures get larger weights (--no-balance turns that off).

With --custom-classes, the subfolders may have any names, such as "yawning" and "awake". The new network then returns
one score per subfolder; load_custom_network and classify_custom use it.

Method: a linear classifier on the features of a trained network, Donahue et al. 2014, arXiv 1310.1531; the mean of old
and new weights, Wortsman et al. 2022, arXiv 2109.01903; the paired test of two classifiers, Dietterich 1998,
doi 10.1162/089976698300017197.
"""
import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression

import helpers
from checks import check_file, check_number, expand_home, save_atomically
from helpers import Face, PathLike

ABSENT_CLASS_BIAS = -10_000.0   # an expression without pictures gets this bias, so that it is never predicted
DEFAULT_C = 0.01                # scikit-learn's C: small, because few pictures need strong regularisation
BATCH_SIZE = 64
HOLD_OUT = 0.25                 # fraction of each class
MIN_HELD_OUT = 20               # with fewer held-out pictures, nothing is held out
MAX_HOLD_OUT = 0.9
SIGNIFICANCE = 0.05             # of the paired test
CLASSES_KEY = "classes"         # where an ONNX file keeps the names of custom classes, as JSON

FloatArray = npt.NDArray[np.floating]
Layer = tuple[FloatArray, FloatArray]       # weights (F, K), bias (K,); K is 8, or the number of custom classes


# ---------------------------------------------------------------- folders of labelled pictures


def largest_box(faces: Sequence[Face]) -> list[int]:
    """Find the largest face.

    Parameters
    ----------
    faces : sequence of Face
        At least one face, from `helpers.detect_faces`.

    Returns
    -------
    list of int
        Its box: x, y, w, h in pixels.
    """
    return max(faces, key=lambda face: face["box"][2] * face["box"][3])["box"]


def _subfolders(folder: PathLike) -> list[Path]:
    """Folders inside a folder, without hidden ones, sorted; FileNotFoundError if it is missing."""
    folder = expand_home(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder.resolve()}: make one with a subfolder per expression")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_classes(folder: PathLike) -> tuple[str, ...]:
    """Read the names of the subfolders, for `load_labelled_faces`.

    Parameters
    ----------
    folder : str or os.PathLike
        A folder with at least two subfolders, one per class.

    Returns
    -------
    tuple of str
        The names, sorted; two that differ only in upper and lower case are one class.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is missing, or if it has fewer than two classes.
    """
    names = tuple({path.name.lower(): path.name for path in _subfolders(folder)}.values())
    if len(names) < 2:
        raise ValueError(f"{folder} needs at least two subfolders of pictures, one per class")
    return names


def load_labelled_faces(folder: PathLike, *, classes: Sequence[str] = helpers.EMOTIONS, detector: str = "ssd",
                        confidence: float = 0.5,
                        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], list[Path], dict[Path, str]]:
    """Crop the largest face of each picture in a folder with one subfolder per class.

    Parameters
    ----------
    folder : str or os.PathLike
        Its subfolders are named after `classes`, in upper or lower case.
    classes : sequence of str
        The eight expressions, or the names that `find_classes` returns.
    detector, confidence
        As for `helpers.detect_faces`.

    Returns
    -------
    faces : numpy.ndarray
        float32 (N, 1, 64, 64), grey 0..255.
    labels : numpy.ndarray
        int (N,), indices into `classes`.
    paths : list of pathlib.Path
        The N files.
    left_out : dict of {pathlib.Path: str}
        Files that could not be read or show no face, and the reason.

    Raises
    ------
    FileNotFoundError
        If the folder is missing.
    ValueError
        If a subfolder is not named after a class, if no picture shows a face, and as `helpers.detect_faces`.
    """
    subfolders = _subfolders(folder)
    folder = expand_home(folder)
    by_name = {name.lower(): label for label, name in enumerate(classes)}
    unknown = [path.name for path in subfolders if path.name.lower() not in by_name]
    if unknown and tuple(classes) == helpers.EMOTIONS:
        raise ValueError(f"the subfolders {unknown} of {folder} are not expressions: name them after "
                         f"{', '.join(classes)}. For classes of your own, use Model/adapt.py --custom-classes")
    if unknown:
        raise ValueError(f"the subfolders {unknown} of {folder} are not classes: name them after {', '.join(classes)}")
    # A wrong option raises its error here, and is not taken for a fault of every single file.
    helpers.detect_faces(np.zeros((64, 64, 3), np.uint8), detector=detector, confidence=confidence)
    faces, labels, paths, left_out = [], [], [], {}
    for subfolder in subfolders:
        for path in sorted(path for path in subfolder.iterdir() if not path.name.startswith(".")):
            try:
                if path.suffix.lower() not in helpers.IMAGE_SUFFIXES:
                    raise ValueError(f"not one of {', '.join(helpers.IMAGE_SUFFIXES)}: save it as JPEG or PNG")
                image = helpers.read_image(path)
                found = helpers.detect_faces(image, detector=detector, confidence=confidence)
                if not found:
                    raise ValueError("no face found")
                faces.append(helpers.preprocess(helpers.crop_face(image, largest_box(found))))
            except (OSError, ValueError, MemoryError) as problem:
                left_out[path] = str(problem)
                continue
            labels.append(by_name[subfolder.name.lower()])
            paths.append(path)
    if not faces:
        raise ValueError(f"no face in {folder}: it needs subfolders such as {folder.name}/{classes[min(1, len(classes) - 1)]} "
                         "with pictures in them"
                         + "".join(f"; {path.name}: {reason}" for path, reason in list(left_out.items())[:3]))
    return np.concatenate(faces), np.array(labels), paths, left_out


# ---------------------------------------------------------------- the last layer

def _output_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that compute a graph's output: [Gemm], [MatMul], [Add, MatMul] or [Add, Gemm]; otherwise [last node], or []."""
    by_output = {name: node for node in graph.node for name in node.output}
    node = by_output.get(graph.output[0].name)
    if node is None:
        return []
    if node.op_type == "Add":
        return [node] + [by_output[name] for name in node.input if name in by_output]
    return [node]


def _linear_layer(nodes: list[onnx.NodeProto], constants: dict[str, npt.NDArray[np.float32]]) -> Layer | None:
    """Weights and bias such that ``features @ weights + bias`` is what these nodes compute, or None if there are none."""
    if not nodes or nodes[-1].op_type not in ("Gemm", "MatMul"):
        return None
    *add, product = nodes
    options = {item.name: onnx.helper.get_attribute_value(item) for item in product.attribute}
    biases = [name for node in add for name in node.input if name not in product.output]
    scales = [1.0] * len(biases)
    if product.op_type == "Gemm" and "".join(product.input[2:]):
        biases.append(product.input[2])
        scales.append(options.get("beta", 1.0))
    if len(add) > 1 or options.get("transA") or not {product.input[1], *biases} <= set(constants):
        return None
    weights = constants[product.input[1]] * np.float32(options.get("alpha", 1.0))
    if weights.ndim != 2:
        return None
    weights = weights.T if options.get("transB") else weights
    bias = np.zeros((1, weights.shape[1]), np.float32)
    try:
        for name, scale in zip(biases, scales):
            bias = bias + np.float32(scale) * np.broadcast_to(constants[name], bias.shape)
    except ValueError:                        # one value per face, not per expression
        return None
    return weights, bias[0]


def last_layer(model: PathLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str, onnx.ModelProto]:
    """Read the last, linear layer of a network: a Gemm or a MatMul node, with or without an Add after it.

    Parameters
    ----------
    model : str or os.PathLike
        An ONNX file that `helpers.load_network` loads.

    Returns
    -------
    weights : numpy.ndarray
        float32 (F, 8), multiplied by the node's ``alpha`` if it has one.
    bias : numpy.ndarray
        float32 (8,), multiplied by the node's ``beta`` if it has one: the scores are ``features @ weights + bias``.
    tensor : str
        The name of the tensor that is the layer's input.
    file : onnx.ModelProto
        The whole network.

    Raises
    ------
    ValueError
        If the last layer is not linear, if its weights are not constants, or if it transposes its input.
    TypeError, FileNotFoundError, ValueError
        As `helpers.load_network`.
    """
    helpers.load_network(model)               # its error messages name what is wrong with a file
    file = onnx.load(str(model))
    constants = {item.name: numpy_helper.to_array(item).astype(np.float32) for item in file.graph.initializer}
    nodes = _output_nodes(file.graph)
    layer = _linear_layer(nodes, constants)
    if layer is None:
        raise ValueError(f"{model} does not end in a linear layer with constant weights: it can't be replaced")
    return *layer, nodes[-1].input[0], file


def extract_features(model: PathLike, faces: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the features of faces: the input of the last layer.

    Parameters
    ----------
    model : str or os.PathLike
        An ONNX file, as for `last_layer`.
    faces : numpy.ndarray
        float32 (N, 1, 64, 64), grey 0..255.

    Returns
    -------
    numpy.ndarray
        float32 (N, F).

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        As `last_layer`.

    Notes
    -----
    OpenCV names a layer after its ONNX node, and ``net.forward(name)`` stops at that layer.
    """
    net = helpers.load_network(model)
    weights, _, tensor, file = last_layer(model)
    node = next(node for node in file.graph.node if tensor in node.output)
    names = (f"onnx_node!{node.name}", f"onnx_node_output_0!{tensor}", node.name, tensor)
    name = next(name for name in net.getLayerNames() if name in names)
    rows = []
    for start in range(0, len(faces), BATCH_SIZE):
        net.setInput(faces[start:start + BATCH_SIZE])
        rows.append(net.forward(name).reshape(-1, len(weights)).copy())
    return np.concatenate(rows) if rows else np.zeros((0, len(weights)), np.float32)


def fit_last_layer(features: npt.ArrayLike, labels: npt.ArrayLike, *, C: float = DEFAULT_C, balanced: bool = True,
                   classes: int = len(helpers.EMOTIONS),
                   ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit a multinomial logistic regression to the features of labelled faces.

    Parameters
    ----------
    features : array_like
        (N, F), from `extract_features`.
    labels : array_like
        int (N,), indices of classes.
    C : float
        Inverse of the regularisation strength, above 0, as in scikit-learn: smaller values give smaller weights.
    balanced : bool
        Whether each class counts equally, however many faces it has. Otherwise, each face does, and rare classes are
        seldom predicted.
    classes : int
        Number of classes: eight, unless they are your own.

    Returns
    -------
    weights : numpy.ndarray
        float32 (F, K), with K classes.
    bias : numpy.ndarray
        float32 (K,); ABSENT_CLASS_BIAS for a class without a face.

    Raises
    ------
    ValueError
        If there are faces of fewer than two classes, or if the features contain NaN or infinity.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    known = np.unique(labels)
    if len(known) < 2:
        raise ValueError("a classifier needs pictures of at least two expressions or other classes")
    if not np.isfinite(features).all():
        raise ValueError("the features contain NaN or infinity")
    mean, std = features.mean(0), features.std() or 1.0
    fitted = LogisticRegression(C=C, max_iter=1000, class_weight="balanced" if balanced else None)
    fitted.fit((features - mean) / std, labels)
    rows, intercept = fitted.coef_ / std, fitted.intercept_
    if len(known) == 2:                       # for two classes scikit-learn returns a single row
        rows, intercept = np.vstack([-rows, rows]) / 2, np.concatenate([-intercept, intercept]) / 2
    weights = np.zeros((features.shape[1], classes), np.float32)
    bias = np.full(classes, ABSENT_CLASS_BIAS, np.float32)
    weights[:, known] = rows.T
    bias[known] = intercept - mean @ rows.T
    return weights, bias


def interpolate(old: Layer, new: Layer, *, alpha: float = 0.5) -> Layer:
    """Interpolate linearly between two last layers. Its scores are interpolated between theirs in the same way.

    Parameters
    ----------
    old, new : tuple of numpy.ndarray
        (weights, bias) of each layer.
    alpha : float
        0 returns the old layer, 1 the new one.

    Returns
    -------
    tuple of numpy.ndarray
        (weights, bias).
    """
    weights, bias = ((1 - alpha) * first + alpha * second for first, second in zip(old, new))
    return weights, bias


# ---------------------------------------------------------------- before and after

def hold_out(labels: npt.ArrayLike, *, fraction: float = HOLD_OUT, seed: int = 0,
             ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Split pictures at random into some to learn from and some to measure on, each class by itself.

    Parameters
    ----------
    labels : array_like
        int (N,), indices of classes.
    fraction : float
        The fraction of each class that is held out, rounded down, 0..0.9.
    seed : int
        Of the random choice.

    Returns
    -------
    learn, test : numpy.ndarray
        Indices of the pictures, sorted. `test` is empty if it would hold fewer than MIN_HELD_OUT pictures, or pictures
        of one class only.

    Raises
    ------
    ValueError
        For another fraction.
    """
    labels = np.asarray(labels)
    check_number("the fraction to hold out", fraction, f"a number from 0 to {MAX_HOLD_OUT}", low=0, high=MAX_HOLD_OUT)
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    held_out = [indices[:int(len(indices) * fraction)] for indices in by_class]
    test = np.sort(np.concatenate([np.zeros(0, np.intp), *held_out]))
    if len(test) < MIN_HELD_OUT or sum(len(indices) > 0 for indices in held_out) < 2:
        test = np.zeros(0, np.intp)
    return np.setdiff1d(np.arange(len(labels)), test), test


def measure(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Compute the four figures that the script prints.

    Parameters
    ----------
    labels : array_like
        int (N,), indices of classes.
    probabilities : array_like
        (N, K).

    Returns
    -------
    dict of {str: float}
        ``accuracy``; ``mean_recall``, over the classes that occur; ``ece``, the expected calibration error; ``doubtful``,
        the fraction of labels with a question mark, because their probability is below `helpers.LABEL_THRESHOLD`.
    """
    from Model.evaluate import calibration  # imported here, because evaluate.py imports this module
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    correct = probabilities.argmax(1) == labels
    return {"accuracy": float(correct.mean()),
            "mean_recall": float(np.mean([correct[labels == label].mean() for label in np.unique(labels)])),
            "ece": calibration(labels, probabilities)["ece"],
            "doubtful": float((probabilities.max(1) < helpers.LABEL_THRESHOLD).mean())}


def paired_test(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[int, int, float]:
    """Compare two classifiers on the same faces: McNemar's test in its exact form, a sign test.

    Only the faces that exactly one of the two labels correctly tell them apart. If both are equally good, such a face
    is like the toss of a coin.

    Parameters
    ----------
    first, second : array_like
        bool (N,): whether each classifier labels a face correctly.

    Returns
    -------
    only_first, only_second : int
        How many faces only this classifier labels correctly.
    p_value : float
        The probability of a difference at least as large, in either direction, if both were equally good.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ, more = only_first + only_second, max(only_first, only_second)
    as_uneven = sum(math.comb(differ, count) for count in range(more, differ + 1))     # of 2 ** differ ways, on one side
    return only_first, only_second, min(2 * as_uneven / 2 ** differ, 1.0)


def verdict(before: npt.ArrayLike, after: npt.ArrayLike) -> str:
    """Say in words what `paired_test` finds, and what to do.

    Parameters
    ----------
    before, after : array_like
        bool (N,): whether the old and the new layer label a face correctly.

    Returns
    -------
    str
        Two sentences.

    Raises
    ------
    ValueError
        If there are no faces.
    """
    if not len(np.atleast_1d(before)):
        raise ValueError("no picture was held out, so there is nothing to compare: give about 80 pictures, or others to test on")
    only_before, only_after, p_value = paired_test(before, after)
    counts = (f"{only_after} of them are labelled correctly only by the new layer, and {only_before} only by the old one "
              f"(p = {p_value:.2g})")
    if p_value >= SIGNIFICANCE:
        return (f"{counts}: no clear difference. Keep the old network, or add pictures and try again; stop when the "
                "figures no longer rise.")
    if only_after < only_before:
        return f"{counts}: the new layer is worse. Keep the old network."
    return f"{counts}: the new layer is better. Add pictures for as long as the figures rise, then stop."


# ---------------------------------------------------------------- fewer classes

def merge_classes(probabilities: npt.ArrayLike, groups: Mapping[str, Sequence[str]]) -> npt.NDArray[np.float64]:
    """Add up the probabilities of the expressions in each group.

    Parameters
    ----------
    probabilities : array_like
        (8,) or (N, 8), columns in the order of `helpers.EMOTIONS`.
    groups : dict of {str: sequence of str}
        The expressions in each group. An expression may be in no group, but not in two.

    Returns
    -------
    numpy.ndarray
        float64 (G,) or (N, G), columns in the order of `groups`.

    Raises
    ------
    ValueError
        If there is no group, for an unknown expression, and for one that occurs twice.
    """
    members = [name for names in groups.values() for name in names]
    for name in members:
        if name not in helpers.EMOTIONS:
            raise ValueError(f"{name!r} is not an expression: choose from {', '.join(helpers.EMOTIONS)}")
        if members.count(name) > 1:
            raise ValueError(f"{name} occurs twice in the groups: its probability would count twice")
    if not groups:
        raise ValueError("merge_classes needs at least one group")
    belongs = np.array([[name in names for names in groups.values()] for name in helpers.EMOTIONS], np.float64)
    return np.asarray(probabilities, np.float64) @ belongs


# ---------------------------------------------------------------- the new file

def replace_last_layer(model: PathLike, weights: npt.ArrayLike, bias: npt.ArrayLike, out: PathLike, *,
                       classes: Sequence[str] | None = None) -> Path:
    """Write a copy of a network with a different last layer.

    The new file is loaded once before it gets its name, so there is never a damaged or half-written one.

    Parameters
    ----------
    model : str or os.PathLike
        An ONNX file, as for `last_layer`.
    weights, bias : array_like
        (F, K) and (K,), the new layer; K is 8 without `classes`.
    out : str or os.PathLike
        The file to write, with the suffix .onnx, in a folder that exists. It must be neither `model` nor the
        project's own network.
    classes : sequence of str, optional
        Names of K classes of your own. They are written into the file, which `load_custom_network` loads.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        For other shapes, for NaN or infinity, for an `out` that is not allowed, and as `last_layer`.
    FileNotFoundError
        If the folder of `out` is missing.
    """
    old_weights, old_bias, tensor, file = last_layer(model)
    count = len(old_bias) if classes is None else len(classes)
    if np.shape(weights) != (len(old_weights), count) or np.shape(bias) != (count,):
        raise ValueError(f"the last layer has weights {(len(old_weights), count)} and bias {(count,)}, "
                         f"not {np.shape(weights)} and {np.shape(bias)}")
    if classes is not None and (len(set(classes)) < count or not all(classes)):
        raise ValueError(f"the classes need different names, not {list(classes)}")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError("the new weights contain NaN or infinity")
    out = expand_home(out)
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"{out} should end in .onnx")
    if out.exists() and (out.samefile(model) or out.samefile(helpers.MODEL_PATH)):
        raise ValueError(f"{out} is the network itself, which would be lost: choose a different file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent.resolve()}: create it first")
    output = file.graph.output[0].name
    replaced = _output_nodes(file.graph)
    used = {name for node in file.graph.node if node not in replaced for name in node.input}
    for node in replaced:
        file.graph.node.remove(node)
    for item in [item for item in file.graph.initializer if item.name not in used]:
        file.graph.initializer.remove(item)
    for item in [item for item in file.graph.input if item.name not in used]:
        file.graph.input.remove(item)         # before IR version 4, constants were inputs too
    file.ir_version = max(file.ir_version, 4)
    file.graph.initializer.extend([numpy_helper.from_array(np.asarray(weights, np.float32), "new_weights"),
                                   numpy_helper.from_array(np.asarray(bias, np.float32), "new_bias")])
    file.graph.node.append(onnx.helper.make_node("Gemm", [tensor, "new_weights", "new_bias"], [output], name="new_last"))
    if classes is not None:
        file.graph.output[0].type.tensor_type.shape.dim[-1].dim_value = count
        del file.graph.value_info[:]          # shapes that other programs noted, which may have changed
        onnx.helper.set_model_props(file, {CLASSES_KEY: json.dumps(list(classes))})

    def write(name: str) -> None:
        onnx.save(file, name)
        if classes is None:
            helpers.load_network(name)
        else:
            load_custom_network(name)

    return save_atomically(write, out)


# ---------------------------------------------------------------- a network with classes of your own

def load_custom_network(path: PathLike) -> tuple[cv2.dnn.Net, tuple[str, ...]]:
    """Load a network that was made with ``--custom-classes``.

    Parameters
    ----------
    path : str or os.PathLike
        The ONNX file.

    Returns
    -------
    net : cv2.dnn.Net
        For `classify_custom`.
    classes : tuple of str
        The names of its classes, in the order of its scores.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        If it is not a path, not there, damaged, or a network without names of classes.
    """
    net = helpers.load_network(path, classes=None)
    notes = {item.key: item.value for item in onnx.load(str(check_file(path, "network"))).metadata_props}
    if CLASSES_KEY not in notes:
        raise ValueError(f"{path} contains no class names: load it with helpers.init_emotion")
    return net, tuple(json.loads(notes[CLASSES_KEY]))


def classify_custom(image: helpers.Image, net: cv2.dnn.Net, classes: Sequence[str], *, detector: str = "ssd",
                    confidence: float = 0.5) -> list[Face]:
    """Find the faces in an image and classify them with classes of your own.

    Parameters
    ----------
    image : numpy.ndarray
        As for `helpers.detect_faces`.
    net, classes
        From `load_custom_network`.
    detector, confidence
        As for `helpers.detect_faces`.

    Returns
    -------
    list of Face
        As `helpers.detect_emotions`, with the classes instead of the expressions, so that `helpers.draw` takes it.

    Raises
    ------
    ValueError, ImportError, TypeError
        If `classes` don't fit the network, and as `helpers.detect_faces`.
    """
    faces = helpers.detect_faces(image, detector=detector, confidence=confidence)
    return helpers.classify_expressions(image, faces, net=net, labels=classes)


# ---------------------------------------------------------------- the script

def _print_comparison(rows: Mapping[str, Mapping[str, float]]) -> None:
    """One line per row of `measure` figures, below their names."""
    print(f"{'':10}{'accuracy':>10}{'mean recall':>13}{'calibration error':>19}{'with ?':>8}")
    for name, figures in rows.items():
        print(f"{name:10}{figures['accuracy']:10.1%}{figures['mean_recall']:13.1%}{figures['ece']:19.1%}"
              f"{figures['doubtful']:8.1%}")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", required=True, help="folder with one subfolder of pictures per expression")
    parser.add_argument("--test", help="a folder of the same kind, with pictures of different people, to measure on")
    parser.add_argument("--model", default=helpers.MODEL_PATH, type=Path, help="the network to adapt")
    parser.add_argument("--out", required=True, type=Path, help="the new network")
    parser.add_argument("--alpha", type=float,
                        help="from 0 (old weights) to 1 (new weights); the default is 0.5, their mean")
    parser.add_argument("--balance", action=argparse.BooleanOptionalAction, default=True,
                        help="let each class count equally, however many pictures it has")
    parser.add_argument("--hold-out", type=float, default=HOLD_OUT, metavar="FRACTION",
                        help="fraction of each class that is held out for measuring; 0 uses all pictures for training "
                             "(default: %(default)s, where that gives 20 pictures)")
    parser.add_argument("--custom-classes", action="store_true",
                        help="take the names of the subfolders as classes, instead of the eight expressions")
    args = parser.parse_args()
    if args.alpha is not None and not 0 <= args.alpha <= 1:
        parser.error("--alpha must be between 0 (old weights) and 1 (new weights)")
    if args.alpha is not None and args.custom_classes:
        parser.error("--alpha needs the eight expressions: with --custom-classes there are no old weights")
    if args.test and expand_home(args.test).resolve() == expand_home(args.pictures).resolve():
        parser.error("--test is the same folder as --pictures: name a folder with pictures of other people")
    alpha = 1.0 if args.custom_classes else 0.5 if args.alpha is None else args.alpha
    try:
        classes = find_classes(args.pictures) if args.custom_classes else helpers.EMOTIONS
        faces, labels, _, left_out = load_labelled_faces(args.pictures, classes=classes)
        learn, held_out = hold_out(labels, fraction=0 if args.test else args.hold_out)
        test_faces, test_labels = faces[held_out], labels[held_out]
        where = "pictures that were held out"
        if args.test:
            test_faces, test_labels, _, others = load_labelled_faces(args.test, classes=classes)
            left_out, where = {**left_out, **others}, f"pictures in {args.test}"
        for path, reason in left_out.items():
            print(f"left out {path}: {reason}")
        old = last_layer(args.model)[:2]
        new = fit_last_layer(extract_features(args.model, faces[learn]), labels[learn], balanced=args.balance,
                             classes=len(classes))
        weights, bias = new if args.custom_classes else interpolate(old, new, alpha=alpha)
        replace_last_layer(args.model, weights, bias, args.out, classes=classes if args.custom_classes else None)
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    absent = [name for label, name in enumerate(classes) if label not in labels[learn]]
    if absent and alpha:
        print(f"without pictures, so these can no longer be predicted: {', '.join(absent)}")
    print(f"{args.out}: a new last layer, fitted to {len(learn)} faces.")
    if not len(test_labels):
        print("Whether it is better was not measured. Use --test, or give about 80 pictures, so that some can be held out.")
        return
    print(f"\nOn {len(test_labels)} {where}:")
    features = extract_features(args.model, test_faces)
    after = helpers.softmax(features @ weights + bias)
    if args.custom_classes:
        _print_comparison({"after": measure(test_labels, after)})
        frequent = np.bincount(labels[learn]).argmax()
        print(f"always the most frequent class, {classes[frequent]}: {(test_labels == frequent).mean():.1%} accuracy")
        return
    before = helpers.softmax(features @ old[0] + old[1])
    _print_comparison({"before": measure(test_labels, before), "after": measure(test_labels, after)})
    print(verdict(before.argmax(1) == test_labels, after.argmax(1) == test_labels))


if __name__ == "__main__":
    main()
