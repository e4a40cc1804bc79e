"""Causal self-attention with learned relative positions on the keys, and its cache for decoding.

Shaw et al., arXiv:1803.02155, each layer its own embeddings. B = batch, L = queries, S = keys, H = heads, K = head
width, D = width, R = distances that have an embedding of their own.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import partitioning

from models.lm.config import LMConfig
from models.lm.layers import Projection, as_type

MASKED = -1e9  # not -inf: a query that may see nothing must not turn into NaN


class RelativeAttention(nn.Module):
    """Attention of one layer.

    With `decode` the keys and values of earlier calls are in the collection "cache", `cache_index` [B] says how many,
    and the given positions follow them; the first such call, on a whole length, makes an empty cache of that length.
    """

    config: LMConfig

    @nn.compact
    def __call__(
        self,
        x_BLD: jax.Array,
        *,
        segments_BL: jax.Array | None = None,
        decode: bool = False,
        lengths_B: jax.Array | None = None,
    ) -> jax.Array:
        """Attends; float [B, L, D] to float [B, L, D].

        Args:
            x_BLD: the positions.
            segments_BL: ids of the documents packed in a row; positions see their own only.
            decode: whether to read and grow the cache.
            lengths_B: with `decode`, how many of the L positions of each row are real; None means all.
        """
        c = self.config
        project = lambda name: Projection((c.heads, c.head_width), ("embed", "heads", "kv"), dtype=c.dtype, name=name)  # noqa: E731
        q_BLHK, k_BLHK, v_BLHK = project("query")(x_BLD), project("key")(x_BLD), project("value")(x_BLD)
        q_BLHK = q_BLHK / c.head_width**0.5
        distance_RK = as_type(
            partitioning.param_with_axes(
                "distance",
                nn.initializers.normal(c.head_width**-0.5),
                (c.max_distance, c.head_width),
                axes=("relpos_buckets", "kv"),
            ),
            c.dtype,
        )
        near_BHLR = jnp.einsum("blhk,rk->bhlr", q_BLHK, distance_RK)
        if decode and self.has_variable("cache", "cached_key"):
            k_BLHK, v_BLHK, start_B = self._extended(k_BLHK, v_BLHK, lengths_B)
            query_BL = start_B[:, None] + jnp.arange(x_BLD.shape[1])[None]
            distance_BLS = query_BL[:, :, None] - jnp.arange(k_BLHK.shape[1])[None, None]
            visible_BLS = distance_BLS >= 0
            nearest_BLS = jnp.clip(distance_BLS, 0, c.max_distance - 1)
            relative_BHLS = jnp.take_along_axis(near_BHLR, nearest_BLS[:, None], axis=3)
        else:
            if decode:
                self._empty_cache(k_BLHK)
            position = jnp.arange(x_BLD.shape[1])
            visible_BLS = (position[:, None] >= position[None, :])[None]
            if segments_BL is not None:
                visible_BLS &= segments_BL[:, :, None] == segments_BL[:, None, :]
            relative_BHLS = by_distance(near_BHLR)
        scores_BHLS = jnp.einsum("blhk,bshk->bhls", q_BLHK, k_BLHK) + relative_BHLS
        scores_BHLS = jnp.where(visible_BLS[:, None], scores_BHLS.astype(jnp.float32), MASKED)
        mixed_BLHK = jnp.einsum("bhls,bshk->blhk", nn.softmax(scores_BHLS).astype(v_BLHK.dtype), v_BLHK)
        return Projection((c.width,), ("heads", "kv", "embed"), contracted=2, dtype=c.dtype, name="out")(mixed_BLHK)

    def _empty_cache(self, k_BLHK: jax.Array) -> None:
        for name in ("cached_key", "cached_value"):
            self.variable("cache", name, jnp.zeros, k_BLHK.shape, k_BLHK.dtype)
        self.variable("cache", "cache_index", jnp.zeros, (k_BLHK.shape[0],), jnp.int32)

    def _extended(
        self, k_BLHK: jax.Array, v_BLHK: jax.Array, lengths_B: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The whole cache with the new keys and values in it, [B, S, H, K] each, and where they start, [B]."""
        start_B = self.get_variable("cache", "cache_index")
        write = jax.vmap(lambda cached, new, start: jax.lax.dynamic_update_slice(cached, new, (start, 0, 0)))
        whole = []
        for name, new in (("cached_key", k_BLHK), ("cached_value", v_BLHK)):
            cached = write(self.get_variable("cache", name), new, start_B)
            self.put_variable("cache", name, cached)
            whole.append(cached)
        # padding behind a short prompt is written too; the next tokens overwrite it before anything may see it
        grown_B = start_B + (k_BLHK.shape[1] if lengths_B is None else lengths_B)
        self.put_variable("cache", "cache_index", grown_B)
        return whole[0], whole[1], start_B


def by_distance(near_BHLR: jax.Array) -> jax.Array:
    """Turns scores by distance into scores by key: out[..., i, j] = near[..., i, min(i - j, R - 1)] for j <= i.

    A gather would cost more than the attention on most machines (its gradient is a scatter), so rows are laid out by
    falling distance and shifted against each other by a reshape. Entries with j > i are arbitrary.

    Args:
        near_BHLR: float [B, H, L, R].

    Returns:
        float [B, H, L, L].
    """
    batch, heads, length, distances = near_BHLR.shape
    if distances < length:
        far = jnp.broadcast_to(near_BHLR[..., -1:], (batch, heads, length, length - distances))
        near_BHLR = jnp.concatenate([near_BHLR, far], axis=-1)
    falling = near_BHLR[..., :length][..., ::-1]  # column c holds distance L - 1 - c
    # row i must move left by L - 1 - i: rows of L + 1 columns, read again as rows of L columns
    padded = jnp.pad(falling, ((0, 0), (0, 0), (0, 0), (1, 0))).reshape(batch, heads, length + 1, length)
    return padded[:, :, 1:]
