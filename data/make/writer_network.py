"""The demo writer's network, a decoder with fixed distance biases, and its optimizer, Muon."""

# The checks run without torch.
# mypy: ignore-errors
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5
HIDDEN = -1e4  # added to masked attention scores; representable in bfloat16
# Attention bias per head and token of distance (ALiBi); the only positional information.
SLOPES = (0.15, 0.0, 0.0, 0.0)
BACK = 2  # previous tokens whose values each token also receives directly


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    heads: int = 4
    inner: int = 512

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads


class Layer(nn.Module):
    """Attention with normalized queries and keys, then SwiGLU, both residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = nn.Parameter(torch.ones(shape.width))
        self.query = _matrix(shape.width, shape.width)
        self.key = _matrix(shape.width, shape.width)
        self.value = _matrix(shape.width, shape.width)
        self.out = nn.Parameter(torch.zeros(shape.width, (1 + BACK) * shape.width))
        self.query_norm = nn.Parameter(torch.full((shape.heads, 1, shape.head), 1.6))
        self.key_norm = nn.Parameter(torch.full((shape.heads, 1, shape.head), 1.6))
        self.inner_norm = nn.Parameter(torch.ones(shape.width))
        self.gate = _matrix(shape.inner, shape.width)
        self.up = _matrix(shape.inner, shape.width)
        self.down = nn.Parameter(torch.zeros(shape.width, shape.inner))

    def forward(self, x: Tensor, bias: Tensor, before: Tensor) -> Tensor:
        """Map [batch, tokens, width] to the same shape.

        `bias` [batch, heads, tokens, tokens] is added to the scores. `before`, [BACK, batch ×
        tokens], holds the indices of the previous tokens, or one past the end.
        """
        batch, tokens, width = x.shape
        h = normed(x, self.attention_norm)
        split = (batch, tokens, self.shape.heads, self.shape.head)
        q, k, v = (
            F.linear(h, w).view(split).transpose(1, 2) for w in (self.query, self.key, self.value)
        )
        q, k = normed(q, self.query_norm), normed(k, self.key_norm)
        mixed = F.scaled_dot_product_attention(q, k.to(v.dtype), v, attn_mask=bias)
        values = F.pad(v.transpose(1, 2).reshape(batch * tokens, width), (0, 0, 0, 1))
        mixed = [mixed.transpose(1, 2).reshape(batch, tokens, width)]
        mixed += [values[places].view(batch, tokens, width) for places in before]
        x = x + F.linear(torch.cat(mixed, -1), self.out)
        h = normed(x, self.inner_norm)
        return x + F.linear(F.silu(F.linear(h, self.gate)) * F.linear(h, self.up), self.down)


class Network(nn.Module):
    """Maps token ids to logits; input and output embeddings are shared."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.1)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, ids: Tensor, bias: Tensor, before: Tensor) -> Tensor:
        """Return the hidden states [batch, tokens, width] before the output layer."""
        x = normed(self.embedding[ids], torch.ones(self.shape.width))
        for layer in self.layers:
            x = layer(x, bias, before)
        return normed(x, self.norm)

    def logits(self, stream: Tensor) -> Tensor:
        """Return logits [..., vocabulary]."""
        return F.linear(stream, self.embedding)


def normed(x: Tensor, weight: Tensor) -> Tensor:
    """Return RMSNorm of x over the last axis, times a weight."""
    return F.rms_norm(x, (x.shape[-1],), eps=EPSILON).to(weight.dtype) * weight


def seen_by(
    position: Tensor, document: Tensor, block: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the other inputs of `Network`, computed from three arrays [batch, tokens].

    A token attends to earlier tokens of its document in block 0 (the passages) or in its own block
    (a question).
    """
    rows, tokens = position.shape
    seen = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    seen = seen & (document[:, :, None] == document[:, None, :])
    seen &= (block[:, None, :] == 0) | (block[:, :, None] == block[:, None, :])
    hidden = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, HIDDEN)
    distance = position[:, :, None] - position[:, None, :]
    bias = torch.stack(
        [hidden - slope * distance.to(dtype) if slope else hidden for slope in SLOPES], 1
    )
    before = torch.full((BACK, rows, tokens), rows * tokens)
    index = torch.arange(rows * tokens).view(rows, 1, tokens)
    for back in range(BACK):
        match = seen & (distance == back + 1)
        place = torch.where(match, index, rows * tokens).amin(-1)
        before[back] = place
    return bias, before.view(BACK, -1)


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalized by Newton-Schulz steps (Jordan et al. 2024), for matrices."""

    def __init__(
        self, parameters: Iterable[Tensor], rate: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(list(parameters), {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update the matrices; matrices of equal shape are orthogonalized in one batch."""
        for group in self.param_groups:
            by_shape = {}
            for weight in group["params"]:
                by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                updates = []
                for weight in weights:
                    kept = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                    kept.lerp_(weight.grad, 1 - group["momentum"])
                    updates.append(weight.grad.lerp(kept, group["momentum"]))
                scale = max(1.0, weights[0].shape[0] / weights[0].shape[1]) ** 0.5
                for weight, update in zip(weights, _orthogonal(torch.stack(updates)), strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"])
                    weight.add_(update.to(weight.dtype), alpha=-group["lr"] * scale)


def _orthogonal(matrices: Tensor) -> Tensor:
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x
