"""What the tests share: the project's pictures, and networks built for one purpose."""
import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import helpers

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

cv2.setNumThreads(1)     # the same answers, to the last digit, on any number of cores

STILLS = ("grace_hopper", "astronaut", "obama", "clip_sad", "clip_doubtful", "clip_happy", "four_people")


@pytest.fixture(autouse=True)
def fresh_state():
    """No test sees the network that another one loaded."""
    before = helpers._network, helpers._network_path
    helpers._network, helpers._network_path = None, helpers.MODEL_PATH
    yield
    helpers._network, helpers._network_path = before


@pytest.fixture(scope="session")
def pictures():
    """{name: picture} of Media/; tests copy what they change."""
    images = {name: helpers.read_image(ROOT / "Media" / f"{name}.jpg") for name in STILLS}
    for image in images.values():
        image.setflags(write=False)
    return images


def write_network(path, weight, bias, batch=1, side=64, channels=1):
    """Write an ONNX file that flattens its input to a constant shape and multiplies it by a matrix, like the end of the original."""
    inputs = helper.make_tensor_value_info("Input3", TensorProto.FLOAT, [batch, channels, side, side])
    output = helper.make_tensor_value_info("Plus692_Output_0", TensorProto.FLOAT, [batch, len(bias)])
    rows = batch if isinstance(batch, int) else -1
    nodes = [helper.make_node("Reshape", ["Input3", "shape"], ["flat"]),
             helper.make_node("MatMul", ["flat", "weight"], ["product"]),
             helper.make_node("Add", ["product", "bias"], ["Plus692_Output_0"])]
    constants = [numpy_helper.from_array(np.array([rows, channels * side * side], np.int64), "shape"),
                 numpy_helper.from_array(np.asarray(weight, np.float32), "weight"),
                 numpy_helper.from_array(np.asarray(bias, np.float32), "bias")]
    graph = helper.make_graph(nodes, "test", [inputs], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3)
    for constant in constants:       # IR 3 lists the constants among the inputs
        graph.input.append(helper.make_tensor_value_info(constant.name, constant.data_type, list(constant.dims)))
    onnx.save(model, path)
    return path


@pytest.fixture
def network_saying(tmp_path):
    """Return a function that turns eight (or more) scores into an ONNX file that returns them for every picture."""
    def build(scores, **options):
        size = options.get("channels", 1) * options.get("side", 64) ** 2
        return write_network(tmp_path / "saying.onnx", np.zeros((size, len(scores))), scores, **options)
    return build


def run_main(main, *arguments):
    """Run a script with these arguments, in this process; an uncaught exception fails the test."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = end.code
    return CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())
