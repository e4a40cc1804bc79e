import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition import layers


@pytest.mark.parametrize("size", [1, 3, 5])
def test_sums_of_products_are_the_convolution_and_so_are_their_gradients(size: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    x_BHWC = jax.random.normal(keys[0], (2, 6, 5, 3))
    kernel = jax.random.normal(keys[1], (size, size, 3, 4))
    weights = jax.random.normal(keys[2], (2, 6, 5, 4))
    np.testing.assert_allclose(
        layers._shifted_products(x_BHWC, kernel), layers._convolved(x_BHWC, kernel), rtol=1e-5, atol=1e-5
    )
    gradients = [
        jax.grad(lambda x, k, f=f: jnp.sum(weights * jnp.tanh(f(x, k))), argnums=(0, 1))(x_BHWC, kernel)
        for f in (layers._shifted_products, layers._convolved)
    ]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
