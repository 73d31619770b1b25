"""Write an ONNX file built like emotion-ferplus-8.onnx, with random weights.

    python Model/vgg13.py vgg13.onnx

The original is a VGG13 (Barsoum et al. 2016, arXiv 1608.01041) of 8.7 million parameters: ten 3x3
convolutions, four poolings, two wide dense layers. Its weights are a download (fetch_original.py); how long
a face takes does not depend on them, so this twin stands in for it in timings and in tests. Same operators,
opset 8, input and output names; the batch is fixed at 1 and the reshape is a constant, as in the original.
"""
import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((64, 2), (128, 2), (256, 3), (256, 3))   # channels, convolutions before each pooling
DENSE = (1024, 1024, 8)


def build_vgg13(seed=0):
    """The network as onnx.ModelProto: `Input3` (1, 1, 64, 64) in, `Plus692_Output_0` (1, 8) out."""
    rng = np.random.default_rng(seed)
    nodes, constants, inputs = [], [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array, name))
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
        return name

    def weights(name, *shape, fan_in):
        return constant(name, rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32))

    def add(kind, *sources, **settings):
        name = f"{kind}{len(nodes)}_Output_0"
        nodes.append(helper.make_node(kind, sources, [name], name=name[:-9], **settings))
        return name

    x = add("Sub", "Input3", constant("middle", np.float32(127.5).reshape(1)))
    x = add("Div", x, constant("spread", np.float32(127.5).reshape(1)))
    inside, side = 1, 64
    for stage, (outside, count) in enumerate(STAGES):
        for place in range(count):
            kernel = weights(f"kernel{stage}{place}", outside, inside, 3, 3, fan_in=inside * 9)
            x = add("Conv", x, kernel, auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[1, 1])
            x = add("Add", x, constant(f"bias{stage}{place}", np.zeros((outside, 1, 1), np.float32)))
            x = add("Relu", x)
            inside = outside
        x = add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        x = add("Dropout", x, ratio=0.25)
        side //= 2
    inside *= side * side
    x = add("Reshape", x, constant("flat", np.array([1, inside], np.int64)))
    for layer, outside in enumerate(DENSE):
        x = add("MatMul", x, weights(f"dense{layer}", inside, outside, fan_in=inside))
        x = add("Add", x, constant(f"dense_bias{layer}", np.zeros(outside, np.float32)))
        if layer < len(DENSE) - 1:
            x = add("Dropout", add("Relu", x), ratio=0.5)
        inside = outside
    nodes[-1].output[0] = "Plus692_Output_0"
    image = helper.make_tensor_value_info("Input3", TensorProto.FLOAT, [1, 1, 64, 64])
    scores = helper.make_tensor_value_info("Plus692_Output_0", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(nodes, "VGG13", [image, *inputs], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3,
                              producer_name="random weights")
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    onnx.save(build_vgg13(), args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
