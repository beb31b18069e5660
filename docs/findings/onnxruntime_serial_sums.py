"""ONNX Runtime: SkipSimplifiedLayerNormalization adds up a row as one long chain in float32."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

n, domain = 16384, "com.microsoft"
shape = {"x": [1, 1, n], "skip": [1, 1, n], "gamma": [n], "y": [1, 1, n]}
values = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shape.items()}
names = ["x", "skip", "gamma"]
node = helper.make_node(
    "SkipSimplifiedLayerNormalization", names, ["y"], domain=domain, epsilon=0.0
)
graph = helper.make_graph([node], "g", [values[k] for k in names], [values["y"]])
opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
x, ones = np.full((1, 1, n), 0.1, np.float32), np.ones(n, np.float32)
computed = float(session.run(["y"], {"x": x, "skip": 0 * x, "gamma": ones})[0][0, 0, 0])
exact = 1.0  # each value over the root of the mean of equal squares
print(f"computed {computed!r}")
print(f"exact {exact!r}")
print(f"unit_roundoffs {abs(computed - exact) * 2.0**24:.0f}")
assert abs(computed - exact) > 64 * 2.0**-24, "the sum is right here"
