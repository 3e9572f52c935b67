"""Operators that onnxruntime adds to ONNX's own domain, and which the checker must be told of."""

from __future__ import annotations

from functools import cache

FLOATS = ["tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)"]


@cache
def register() -> None:
    """Let onnx's checker take a graph with SimplifiedLayerNormalization, as exports of language models have it."""
    from onnx import defs

    schema = defs.OpSchema
    if defs.has("SimplifiedLayerNormalization"):
        return
    defs.register_schema(
        schema(
            "SimplifiedLayerNormalization",
            "",
            1,
            inputs=[schema.FormalParameter("X", "T"), schema.FormalParameter("scale", "V")],
            outputs=[
                schema.FormalParameter("Y", "V"),
                schema.FormalParameter("inv_std_var", "U", param_option=schema.FormalParameterOption.Optional),
            ],
            type_constraints=[(name, FLOATS, "") for name in "TUV"],
            attributes=[
                schema.Attribute("axis", schema.AttrType.INT, required=False),
                schema.Attribute("epsilon", schema.AttrType.FLOAT, required=False),
                schema.Attribute("stash_type", schema.AttrType.INT, required=False),
            ],
        )
    )
