"""A new last layer for the network, from your own pictures: no deep-learning framework, and done in seconds.

    python Model/adapt.py --pictures DIR --out my.onnx          # DIR/Happy/*.jpg, DIR/Sad/*.jpg, ...

The layers before the last turn a face into a few hundred numbers, its features; the last layer weighs them into
eight scores. Here the first part stays as it is, and a multinomial logistic regression (scikit-learn) finds new
weights for the second. The file that is written has the interface of the one it came from, so
helpers.init_emotion("my.onnx") loads it.

Method: features of a trained network under a new linear classifier, Donahue et al. 2014, arXiv 1310.1531; the mean
of the old and the new weights, Wortsman et al. 2022, arXiv 2109.01903.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
import helpers  # noqa: E402
from ferplus import save_safely  # noqa: E402

NEVER = -10_000.0    # bias of an expression without pictures: never the label, whatever the rest says
STRENGTH = 0.01     # scikit-learn's C: few pictures want a strong pull towards small weights
BATCH = 64


def largest_box(faces):
    """The box of the largest of the faces that helpers.detect_faces found."""
    return max(faces, key=lambda face: face["box"][2] * face["box"][3])["box"]


def load_pictures(folder, detector="ssd", confidence=0.5):
    """Labelled faces of a folder with one subfolder per expression: (faces, labels, paths, left_out).

    faces : float32 (N, 1, 64, 64), grey 0..255, the largest face of each picture
    labels : int (N,), places in helpers.EMOTIONS; upper and lower case in the subfolders' names are the same
    paths : list of N Path
    left_out : {Path: reason}, files that could not be read or show no face
    Raises FileNotFoundError for a folder that is missing, ValueError for a subfolder that is none of the eight,
    and for a folder without a single face.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder.resolve()}: make one with a subfolder per expression")
    by_name = {name.lower(): label for label, name in enumerate(helpers.EMOTIONS)}
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    unknown = [path.name for path in subfolders if path.name.lower() not in by_name]
    if unknown:
        raise ValueError(f"the subfolders {unknown} of {folder} are no expressions: "
                         f"name them after {', '.join(helpers.EMOTIONS)}")
    helpers.detect_faces(np.zeros((64, 64, 3), np.uint8), detector, confidence)     # a wrong name fails now, not per file
    faces, labels, paths, left_out = [], [], [], {}
    for subfolder in subfolders:
        for path in sorted(path for path in subfolder.iterdir() if not path.name.startswith(".")):
            try:
                if path.suffix.lower() not in helpers.PICTURES:
                    raise ValueError(f"not one of {', '.join(helpers.PICTURES)}: save it as JPEG or PNG")
                image = helpers.read_image(path)
                found = helpers.detect_faces(image, detector, confidence)
                if not found:
                    raise ValueError("no face found")
                faces.append(helpers.preprocess(helpers.crop_face(image, largest_box(found))))
            except (OSError, ValueError) as problem:
                left_out[path] = str(problem)
                continue
            labels.append(by_name[subfolder.name.lower()])
            paths.append(path)
    if not faces:
        raise ValueError(f"no face in {folder}: it wants subfolders such as {folder.name}/Happy with pictures in them"
                         + "".join(f"; {path.name}: {reason}" for path, reason in list(left_out.items())[:3]))
    return np.concatenate(faces), np.array(labels), paths, left_out


def _end(graph):
    """The nodes of a graph that make its output: [Gemm], or [Add, MatMul]; anything else as [last node or None]."""
    ends = {node.output[0]: node for node in graph.node}
    node = ends.get(graph.output[0].name)
    if node is not None and node.op_type == "Add":
        return [node] + [ends[name] for name in node.input if name in ends][:1]
    return [node]


def last_layer(model):
    """(weights (F, 8), bias (8,), name of the tensor that enters, file) of a network's last, linear layer.

    The file ends in a Gemm (weights and bias in one operator), or in a MatMul and an Add. Raises ValueError for
    another ending, and what load_network raises.
    """
    helpers.load_network(model)               # says in a sentence what is wrong with a file
    file = onnx.load(str(model))
    constants = {item.name: item for item in file.graph.initializer}
    end = _end(file.graph)
    node = end[-1]
    add = next((name for name in end[0].input if name in constants), None) if len(end) > 1 else None
    if node is None or node.op_type not in ("Gemm", "MatMul") or node.input[1] not in constants:
        raise ValueError(f"{model} does not end in a linear layer with constant weights: it can't be replaced")
    weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
    options = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if options.get("transB"):
        weights = weights.T
    add = add or (node.input[2] if len(node.input) > 2 else None)
    bias = (numpy_helper.to_array(constants[add]).astype(np.float32).ravel() if add
            else np.zeros(weights.shape[1], np.float32))
    return weights, bias, node.input[0], file


def features_of(model, faces):
    """(N, F) float32: what enters the last layer for faces (N, 1, 64, 64) float32, grey 0..255.

    OpenCV names a layer after the ONNX node: forward(name) stops there. Raises what last_layer and load_network raise.
    """
    net = helpers.load_network(model)
    weights, _, tensor, file = last_layer(model)
    node = next(node for node in file.graph.node if tensor in node.output)
    name = next(name for name in net.getLayerNames() if name in (f"onnx_node!{node.name}", node.name, tensor))
    rows = []
    for face in range(0, len(faces), BATCH):
        net.setInput(faces[face:face + BATCH])
        rows.append(net.forward(name).reshape(-1, len(weights)).copy())
    return np.concatenate(rows) if rows else np.zeros((0, len(weights)), np.float32)


def fit_last_layer(features, labels, strength=STRENGTH):
    """(weights (F, 8), bias (8,)) float32 of a multinomial logistic regression: features (N, F), labels (N,) 0..7.

    An expression without a picture gets a bias so low that it is never the label. Raises ValueError for fewer than
    two expressions, or features that are no finite numbers.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    known = np.unique(labels)
    if len(known) < 2:
        raise ValueError("a classifier wants pictures of two expressions or more")
    if not np.isfinite(features).all():
        raise ValueError("the features are no finite numbers")
    mean, spread = features.mean(0), features.std() or 1.0
    fitted = LogisticRegression(C=strength, max_iter=1000).fit((features - mean) / spread, labels)
    rows, start = fitted.coef_ / spread, fitted.intercept_
    if len(known) == 2:                       # scikit-learn keeps one row for two classes
        rows, start = np.vstack([-rows, rows]) / 2, np.concatenate([-start, start]) / 2
    weights = np.zeros((features.shape[1], len(helpers.EMOTIONS)), np.float32)
    bias = np.full(len(helpers.EMOTIONS), NEVER, np.float32)
    weights[:, known] = rows.T
    bias[known] = start - mean @ rows.T
    return weights, bias


def blend(old, new, share=0.5):
    """(weights, bias) between two last layers: share 0 is the old one, 1 the new one.

    The mean of two linear layers scores as the mean of their scores.
    """
    return tuple((1 - share) * first + share * second for first, second in zip(old, new))


def write_last_layer(model, weights, bias, out):
    """Write `model` with another last layer to `out`, whole or not at all; loads it once, to be sure.

    weights (F, 8), bias (8,). Raises ValueError for other shapes, for numbers that are not finite, for another
    ending than .onnx, and for `out` being `model` or the project's network; FileNotFoundError for a missing folder.
    """
    old_weights, old_bias, tensor, file = last_layer(model)
    if np.shape(weights) != old_weights.shape or np.shape(bias) != old_bias.shape:
        raise ValueError(f"the last layer has weights {old_weights.shape} and bias {old_bias.shape}, "
                         f"not {np.shape(weights)} and {np.shape(bias)}")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError("the new weights are no finite numbers")
    out = Path(out).expanduser()
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"{out} should end in .onnx")
    if out.exists() and (out.samefile(model) or out.samefile(helpers.MODEL)):
        raise ValueError(f"{out} is the network itself: choose another file, it would be lost")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent.resolve()}: make it first")
    output = file.graph.output[0].name
    gone = _end(file.graph)
    used = {name for node in file.graph.node if node not in gone for name in node.input}
    for node in gone:
        file.graph.node.remove(node)
    for item in [item for item in file.graph.initializer if item.name not in used]:
        file.graph.initializer.remove(item)
    for item in [item for item in file.graph.input if item.name not in used]:
        file.graph.input.remove(item)         # before IR version 4 constants were inputs, too
    file.ir_version = max(file.ir_version, 4)
    file.graph.initializer.extend([numpy_helper.from_array(np.float32(weights), "new_weights"),
                                   numpy_helper.from_array(np.float32(bias), "new_bias")])
    file.graph.node.append(onnx.helper.make_node("Gemm", [tensor, "new_weights", "new_bias"], [output], name="new_last"))

    def write(name):
        onnx.save(file, name)
        helpers.load_network(name)

    return save_safely(write, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", required=True, help="folder with a subfolder per expression")
    parser.add_argument("--model", default=HERE / "emotion-ferplus-small.onnx", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="the new network")
    parser.add_argument("--share", type=float, default=0.5, help="of the new weights; the rest are the old ones")
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error("--share is between 0 (old weights) and 1 (new weights)")
    try:
        faces, labels, paths, left_out = load_pictures(args.pictures)
        for path, reason in left_out.items():
            print(f"left out {path}: {reason}")
        old = last_layer(args.model)[:2]
        new = fit_last_layer(features_of(args.model, faces), labels)
        write_last_layer(args.model, *blend(old, new, args.share), args.out)
    except (OSError, ValueError) as problem:
        parser.error(str(problem))
    lost = [name for label, name in enumerate(helpers.EMOTIONS) if label not in labels]
    if lost and args.share:
        print(f"without pictures, so never the label from now on: {', '.join(lost)}")
    print(f"{args.out}: a new last layer from {len(faces)} faces. Try it on pictures that it has not seen.")


if __name__ == "__main__":
    main()
