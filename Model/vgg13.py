"""Write an ONNX file with the architecture of emotion-ferplus-8.onnx and random weights.

    python Model/vgg13.py vgg13.onnx

The original is a VGG13 (Barsoum et al. 2016, arXiv 1608.01041) with 8.7 million parameters: ten 3x3 convolutions, four
pooling layers and three dense layers. Its weights have to be downloaded (fetch_original.py). The time per face does
not depend on the weights, so this network replaces the original in timings and tests. Operators, opset 8 and the names
of input and output are the same. As in the original, the batch size is fixed at 1 and the shape of the reshape is a
constant.
"""
import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((64, 2), (128, 2), (256, 3), (256, 3))   # channels, convolutions before each pooling layer
DENSE = (1024, 1024, 8)                            # outputs of each dense layer


def build_vgg13(*, seed: int = 0) -> onnx.ModelProto:
    """Build the network.

    Parameters
    ----------
    seed : int
        For the random weights.

    Returns
    -------
    onnx.ModelProto
        Input ``Input3``, float32 (1, 1, 64, 64), grey 0..255; output ``Plus692_Output_0``, float32 (1, 8).
    """
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    inputs: list[onnx.ValueInfoProto] = []

    def constant(name: str, array: npt.NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(array, name))
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
        return name

    def weights(name: str, *shape: int, fan_in: int) -> str:
        return constant(name, rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32))

    def add(kind: str, *sources: str, **settings: Any) -> str:
        name = f"{kind}{len(nodes)}_Output_0"
        nodes.append(helper.make_node(kind, sources, [name], name=name[:-9], **settings))
        return name

    x = add("Sub", "Input3", constant("middle", np.float32(127.5).reshape(1)))
    x = add("Div", x, constant("spread", np.float32(127.5).reshape(1)))
    in_channels, side = 1, 64
    for stage, (out_channels, count) in enumerate(STAGES):
        for index in range(count):
            kernel = weights(f"kernel{stage}{index}", out_channels, in_channels, 3, 3, fan_in=in_channels * 9)
            x = add("Conv", x, kernel, auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[1, 1])
            x = add("Add", x, constant(f"bias{stage}{index}", np.zeros((out_channels, 1, 1), np.float32)))
            x = add("Relu", x)
            in_channels = out_channels
        x = add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = add("Dropout", x, ratio=0.25)
        side //= 2
    in_features = in_channels * side * side
    x = add("Reshape", x, constant("flat", np.array([1, in_features], np.int64)))
    for layer, out_features in enumerate(DENSE):
        x = add("MatMul", x, weights(f"dense{layer}", in_features, out_features, fan_in=in_features))
        x = add("Add", x, constant(f"dense_bias{layer}", np.zeros(out_features, np.float32)))
        if layer < len(DENSE) - 1:
            x = add("Dropout", add("Relu", x), ratio=0.5)
        in_features = out_features
    nodes[-1].output[0] = "Plus692_Output_0"
    image = helper.make_tensor_value_info("Input3", TensorProto.FLOAT, [1, 1, 64, 64])
    scores = helper.make_tensor_value_info("Plus692_Output_0", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(nodes, "VGG13", [image, *inputs], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3,
                              producer_name="random weights")
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    args = parser.parse_args()
    onnx.save(build_vgg13(), args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
