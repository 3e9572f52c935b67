"""Whether int8 products saturate on this CPU.

x86-64 without VNNI adds two products of 8 bits in 16: 2 · 255 · 127 does not fit, and the sum is
clipped. Weights of 7 bits always fit (onnxruntime's documentation of quantization, `reduce_range`).
"""

from __future__ import annotations

from functools import cache

import numpy as np

_LARGEST_ACTIVATION, _LARGEST_WEIGHT, _TERMS = 255, 127, 64


@cache
def int8_saturates() -> bool:
    """Return whether the sum of two maximal 8-bit products is clipped on this CPU."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    weight = np.full((_TERMS, _TERMS), _LARGEST_WEIGHT, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "weight"], ["y"])],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [_TERMS, _TERMS])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [_TERMS, _TERMS])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.full((_TERMS, _TERMS), _LARGEST_ACTIVATION, np.uint8)
    whole = _TERMS * _LARGEST_ACTIVATION * _LARGEST_WEIGHT
    return bool((session.run(None, {"x": x})[0] != whole).any())
