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

    With `decode` the keys and values of earlier calls are in the collection "cache". Its S columns are a ring: each
    call writes the next ones, the same for all rows, and a row's own positions are the newest `cache_index` of them.
    So every row has the same distance to a column, one write serves all rows, and a row can be given another prompt
    while the others go on. Rows of unequal length are padded in front. The first call makes the cache, with as many
    columns as it has positions.
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
            lengths_B: with `decode`, how many of the L positions of each row are real, the last ones; None means all.
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
        if decode and self.has_variable("cache", "cached_key"):
            mixed_BLHK = self._attend_to_cache(q_BLHK, k_BLHK, v_BLHK, distance_RK, lengths_B)
        else:
            position = jnp.arange(x_BLD.shape[1])
            visible_BLS = (position[:, None] >= position[None, :])[None]
            if segments_BL is not None:
                visible_BLS &= segments_BL[:, :, None] == segments_BL[:, None, :]
            if decode:
                visible_BLS &= self._new_cache(k_BLHK, v_BLHK, lengths_B)[:, None]
            relative_BHLS = by_distance(jnp.einsum("blhk,rk->bhlr", q_BLHK, distance_RK))
            scores_BHLS = jnp.einsum("blhk,bshk->bhls", q_BLHK, k_BLHK) + relative_BHLS
            shares_BHLS = _softmax(scores_BHLS, visible_BLS).astype(v_BLHK.dtype)
            mixed_BLHK = jnp.einsum("bhls,bshk->blhk", shares_BHLS, v_BLHK)
        return Projection((c.width,), ("heads", "kv", "embed"), contracted=2, dtype=c.dtype, name="out")(mixed_BLHK)

    def _new_cache(self, k_BLHK: jax.Array, v_BLHK: jax.Array, lengths_B: jax.Array | None) -> jax.Array:
        """Makes the cache, full, and returns which positions are real, [B, L]."""
        rows, length = k_BLHK.shape[:2]
        filled_B = jnp.full(rows, length, jnp.int32) if lengths_B is None else lengths_B.astype(jnp.int32)
        for name, x_BLHK in (("cached_key", k_BLHK), ("cached_value", v_BLHK)):
            self.put_variable("cache", name, x_BLHK.transpose(0, 2, 1, 3))
        self.put_variable("cache", "cache_index", filled_B)
        self.put_variable("cache", "cache_end", jnp.int32(length))
        return jnp.arange(length)[None] >= length - filled_B[:, None]

    def _attend_to_cache(
        self,
        q_BLHK: jax.Array,
        k_BLHK: jax.Array,
        v_BLHK: jax.Array,
        distance_RK: jax.Array,
        lengths_B: jax.Array | None,
    ) -> jax.Array:
        """Writes the new keys and values into the cache and attends to all of it; float [B, L, H, K]."""
        length = q_BLHK.shape[1]
        end = self.get_variable("cache", "cache_end")
        filled_B = self.get_variable("cache", "cache_index") + (length if lengths_B is None else lengths_B)
        whole = []
        for name, x_BLHK in (("cached_key", k_BLHK), ("cached_value", v_BLHK)):
            cached_BHSK = self.get_variable("cache", name)
            at = (0, 0, end % cached_BHSK.shape[2], 0)  # one step never wraps around; see `models.lm.decoding.extend`
            cached_BHSK = jax.lax.dynamic_update_slice(cached_BHSK, x_BLHK.transpose(0, 2, 1, 3), at)
            self.put_variable("cache", name, cached_BHSK)
            whole.append(cached_BHSK)
        self.put_variable("cache", "cache_index", filled_B)
        self.put_variable("cache", "cache_end", end + length)
        key_BHSK, value_BHSK = whole
        columns = key_BHSK.shape[2]
        age_S = (end + length - 1 - jnp.arange(columns)) % columns  # 0 is the newest column
        distance_LS = age_S[None] - jnp.arange(length)[::-1, None]
        visible_BLS = (distance_LS >= 0)[None] & (age_S[None, None] < filled_B[:, None, None])
        nearest_LS = jnp.clip(distance_LS, 0, distance_RK.shape[0] - 1)
        q_BHLK = q_BLHK.transpose(0, 2, 1, 3)
        if length == 1:  # the embedding of every column's distance: a small matrix product instead of a gather
            relative_BHLS = jnp.einsum("bhlk,sk->bhls", q_BHLK, distance_RK[nearest_LS[0]])
        else:
            near_BHLR = jnp.einsum("bhlk,rk->bhlr", q_BHLK, distance_RK)
            relative_BHLS = jnp.take_along_axis(near_BHLR, nearest_LS[None, None], axis=3)
        scores_BHLS = jnp.einsum("bhlk,bhsk->bhls", q_BHLK, key_BHSK) + relative_BHLS
        shares_BHLS = _softmax(scores_BHLS, visible_BLS).astype(value_BHSK.dtype)
        return jnp.einsum("bhls,bhsk->bhlk", shares_BHLS, value_BHSK).transpose(0, 2, 1, 3)


def _softmax(scores_BHLS: jax.Array, visible_BLS: jax.Array) -> jax.Array:
    return nn.softmax(jnp.where(visible_BLS[:, None], scores_BHLS.astype(jnp.float32), MASKED))


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
