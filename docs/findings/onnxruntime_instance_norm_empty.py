"""ONNX Runtime: InstanceNormalization in float16 on no positions ends the process."""

import signal
import subprocess
import sys

CODE = """
import numpy as np, onnxruntime, sys
from onnx import helper
given = {"x": np.zeros((1, 1, 0), sys.argv[1]), "scale": np.ones(1, sys.argv[1])}
given["bias"] = np.zeros(1, sys.argv[1])
kind = helper.np_dtype_to_tensor_dtype(np.dtype(sys.argv[1]))
shapes = [("x", 3), ("scale", 1), ("bias", 1), ("y", 3)]
x, scale, bias, y = (helper.make_tensor_value_info(k, kind, [None] * r) for k, r in shapes)
node = helper.make_node("InstanceNormalization", list(given), ["y"])
graph = helper.make_graph([node], "g", [x, scale, bias], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], given)
"""
float32, computed = (subprocess.call([sys.executable, "-c", CODE, f"float{n}"]) for n in (32, 16))
print(f"exit status in float32 {float32}; in float16 (negative: the number of a signal):")
print(f"computed {computed}\nexact {0}")
assert (float32, computed) == (0, -signal.SIGSEGV), "the process ends in peace here"
