"""Fit a new last layer of the network to your own pictures: in seconds, without a deep-learning framework.

    python Model/adapt.py --pictures DIR --out my.onnx          # DIR/Happy/*.jpg, DIR/Sad/*.jpg, ...

The layers before the last one turn a face into a few hundred numbers, its features. The last layer turns the features
into eight scores. Here all layers but the last stay as they are, and a multinomial logistic regression (scikit-learn)
finds new weights for the last one. The new file has the same interface, so helpers.init_emotion("my.onnx") loads it.

Method: a linear classifier on the features of a trained network, Donahue et al. 2014, arXiv 1310.1531; the mean of old
and new weights, Wortsman et al. 2022, arXiv 2109.01903.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression

import helpers
from checks import save_atomically
from helpers import Face, PathLike

ABSENT_CLASS_BIAS = -10_000.0   # an expression without pictures gets this bias, so that it is never the label
DEFAULT_C = 0.01                # scikit-learn's C: small, because few pictures need strong regularisation
BATCH_SIZE = 64

FloatArray = npt.NDArray[np.floating]
Layer = tuple[FloatArray, FloatArray]       # weights (F, 8), bias (8,)


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


def load_labelled_faces(folder: PathLike, *, detector: str = "ssd", confidence: float = 0.5,
                        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], list[Path], dict[Path, str]]:
    """Crop the largest face of each picture in a folder with one subfolder per expression.

    Parameters
    ----------
    folder : str or os.PathLike
        Its subfolders are named after `helpers.EMOTIONS`, in upper or lower case.
    detector, confidence
        As for `helpers.detect_faces`.

    Returns
    -------
    faces : numpy.ndarray
        float32 (N, 1, 64, 64), grey 0..255.
    labels : numpy.ndarray
        int (N,), indices into `helpers.EMOTIONS`.
    paths : list of pathlib.Path
        The N files.
    left_out : dict of {pathlib.Path: str}
        Files that could not be read or show no face, and the reason.

    Raises
    ------
    FileNotFoundError
        If the folder is missing.
    ValueError
        If a subfolder is not named after an expression, if no picture shows a face, and as `helpers.detect_faces`.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder.resolve()}: make one with a subfolder per expression")
    by_name = {name.lower(): label for label, name in enumerate(helpers.EMOTIONS)}
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    unknown = [path.name for path in subfolders if path.name.lower() not in by_name]
    if unknown:
        raise ValueError(f"the subfolders {unknown} of {folder} are not expressions: "
                         f"name them after {', '.join(helpers.EMOTIONS)}")
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
        raise ValueError(f"no face in {folder}: it needs subfolders such as {folder.name}/Happy with pictures in them"
                         + "".join(f"; {path.name}: {reason}" for path, reason in list(left_out.items())[:3]))
    return np.concatenate(faces), np.array(labels), paths, left_out


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


def fit_last_layer(features: npt.ArrayLike, labels: npt.ArrayLike, *, C: float = DEFAULT_C,
                   ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fit a multinomial logistic regression to the features of labelled faces.

    Parameters
    ----------
    features : array_like
        (N, F), from `extract_features`.
    labels : array_like
        int (N,), indices into `helpers.EMOTIONS`.
    C : float
        Inverse of the regularisation strength, above 0, as in scikit-learn: smaller values give smaller weights.

    Returns
    -------
    weights : numpy.ndarray
        float32 (F, 8).
    bias : numpy.ndarray
        float32 (8,); ABSENT_CLASS_BIAS for an expression without a face.

    Raises
    ------
    ValueError
        If there are fewer than two expressions, or if the features contain NaN or infinity.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    known = np.unique(labels)
    if len(known) < 2:
        raise ValueError("a classifier needs pictures of at least two expressions")
    if not np.isfinite(features).all():
        raise ValueError("the features contain NaN or infinity")
    mean, std = features.mean(0), features.std() or 1.0
    fitted = LogisticRegression(C=C, max_iter=1000).fit((features - mean) / std, labels)
    rows, intercept = fitted.coef_ / std, fitted.intercept_
    if len(known) == 2:                       # for two classes scikit-learn returns a single row
        rows, intercept = np.vstack([-rows, rows]) / 2, np.concatenate([-intercept, intercept]) / 2
    weights = np.zeros((features.shape[1], len(helpers.EMOTIONS)), np.float32)
    bias = np.full(len(helpers.EMOTIONS), ABSENT_CLASS_BIAS, np.float32)
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


def replace_last_layer(model: PathLike, weights: npt.ArrayLike, bias: npt.ArrayLike, out: PathLike) -> Path:
    """Write a copy of a network with a different last layer.

    The new file is loaded once before it gets its name, so there is never a damaged or half-written one.

    Parameters
    ----------
    model : str or os.PathLike
        An ONNX file, as for `last_layer`.
    weights, bias : array_like
        (F, 8) and (8,), the new layer.
    out : str or os.PathLike
        The file to write, with the suffix .onnx, in a folder that exists. It must be neither `model` nor the
        project's own network.

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
    if np.shape(weights) != old_weights.shape or np.shape(bias) != old_bias.shape:
        raise ValueError(f"the last layer has weights {old_weights.shape} and bias {old_bias.shape}, "
                         f"not {np.shape(weights)} and {np.shape(bias)}")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError("the new weights contain NaN or infinity")
    out = Path(out).expanduser()
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"{out} should end in .onnx")
    if out.exists() and (out.samefile(model) or out.samefile(helpers.MODEL_PATH)):
        raise ValueError(f"{out} is the network itself, which would be lost: choose another file")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent.resolve()}: make it first")
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

    def write(name: str) -> None:
        onnx.save(file, name)
        helpers.load_network(name)

    return save_atomically(write, out)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", required=True, help="folder with one subfolder of pictures per expression")
    parser.add_argument("--model", default=helpers.MODEL_PATH, type=Path, help="the network to adapt")
    parser.add_argument("--out", required=True, type=Path, help="the new network")
    parser.add_argument("--alpha", type=float, default=0.5,
                        help="from 0 (old weights) to 1 (new weights); the default is 0.5, their mean")
    args = parser.parse_args()
    if not 0 <= args.alpha <= 1:
        parser.error("--alpha must be between 0 (old weights) and 1 (new weights)")
    try:
        faces, labels, _, left_out = load_labelled_faces(args.pictures)
        for path, reason in left_out.items():
            print(f"left out {path}: {reason}")
        weights, bias, _, _ = last_layer(args.model)
        new = fit_last_layer(extract_features(args.model, faces), labels)
        replace_last_layer(args.model, *interpolate((weights, bias), new, alpha=args.alpha), args.out)
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    absent = [name for label, name in enumerate(helpers.EMOTIONS) if label not in labels]
    if absent and args.alpha:
        print(f"without pictures, and therefore never the label from now on: {', '.join(absent)}")
    print(f"{args.out}: a new last layer, fitted to {len(faces)} faces. Test it on pictures that were not used for it.")


if __name__ == "__main__":
    main()
