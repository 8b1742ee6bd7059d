"""The encoder of BERT (Devlin et al. 2018) with PyTorch's fused attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_MASKED = -10_000.0
"""Added to the scores of masked tokens, as in the first BERT: half precision holds it too."""
_EPSILON = 1e-12


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.out_norm = nn.Linear(width, width), nn.LayerNorm(width, _EPSILON)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.down_norm = nn.LayerNorm(width, _EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        heads = [self._heads(part(x)) for part in (self.query, self.key, self.value)]
        seen = functional.scaled_dot_product_attention(*heads, attn_mask=bias)
        x = self.out_norm(x + self.out(seen.transpose(1, 2).flatten(2)))
        return self.down_norm(x + self.down(functional.gelu(self.up(x))))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Encoder(nn.Module):
    """`classes`: scores from the first token; None: the mean of the tokens, of length 1, as an embedding."""

    def __init__(self, width: int, layers: int, classes: int | None, *, heads: int = 12) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30522, width), nn.Embedding(512, width)
        self.segment = nn.Parameter(0.02 * self.places.weight.detach()[0])
        self.norm = nn.LayerNorm(width, _EPSILON)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.head: nn.Module | None = None
        if classes is not None:
            self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes))
        self.apply(_spread)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places.weight[: input_ids.shape[1]] + self.segment
        x = self.norm(x)
        mask = attention_mask.to(x.dtype)
        bias = ((1 - mask) * _MASKED)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        return _mean(x, mask) if self.head is None else self.head(x[:, 0])


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(2)
    return functional.normalize((x * weight).sum(1) / weight.sum(1).clamp(min=1e-6))


def _spread(part: nn.Module) -> None:
    """BERT's own first weights."""
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=0.02)
    if isinstance(part, nn.Linear):
        nn.init.zeros_(part.bias)
