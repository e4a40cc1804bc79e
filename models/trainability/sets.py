"""Sets whose dimension is known: controls for box counting and for the refinement of tiles."""

import numpy as np

NOTEBOOK_MANDELBROT = (-2.1, -1.35, 2.7)  # left, lower end and side of the notebook's Mandelbrot window


def line(side: int) -> np.ndarray:
    """A straight line across an image, bool [side, side]; dimension 1."""
    image = np.zeros((side, side), bool)
    image[side // 2, :] = True
    return image


def circle(side: int) -> np.ndarray:
    """A circle, one pixel thick, bool [side, side]; dimension 1."""
    row, column = np.mgrid[:side, :side] - side / 2
    return np.abs(np.hypot(row, column) - side * 300 / 1024) < 0.5


def noise(side: int, *, seed: int = 0) -> np.ndarray:
    """Every pixel set or not by a fair coin, bool [side, side]; dimension 2."""
    return np.random.default_rng(seed).random((side, side)) < 0.5


def sierpinski_carpet(depth: int) -> np.ndarray:
    """Sierpinski's carpet, bool [3^depth, 3^depth]; dimension log 8 / log 3 = 1.8928."""
    image, block = np.ones((1, 1), bool), np.ones((3, 3), bool)
    block[1, 1] = False
    for _ in range(depth):
        image = np.kron(block, image)
    return image


def sierpinski_triangle(depth: int) -> np.ndarray:
    """Sierpinski's triangle (odd binomial coefficients), bool [2^depth, 2^depth]; dimension log2 3 = 1.58496."""
    row, column = np.mgrid[: 2**depth, : 2**depth]
    return (row & column) == 0


def mandelbrot_values(x: np.ndarray, y: np.ndarray, *, iterations: int = 100) -> np.ndarray:
    """Like the values of pixels: above 0 where z^2 + x + iy runs away from 0 within the iterations, else below.

    Args:
        x: real parts, any shape.
        y: imaginary parts, of the same shape.
        iterations: after so many a point counts as one of the set.

    Returns:
        float64 of that shape: outside 1 / the iteration at which |z| > 2, inside -1.
    """
    point = np.asarray(x) + 1j * np.asarray(y)
    left = np.arange(point.size)
    start = point.ravel()
    z = np.zeros_like(start)
    values = np.full(start.size, -1.0)
    for iteration in range(1, iterations + 1):
        z = z * z + start[left]
        out = np.abs(z) > 2
        values[left[out]] = 1 / iteration
        z, left = z[~out], left[~out]
        if not len(left):
            break
    return values.reshape(point.shape)


def quadratic_values(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth boundary as pixel values: gradient descent on w^2 / 2 + 4 v^2 / 2 with rates x and y.

    It diverges where |1 - x| or |1 - 4 y| is above 1: above 0 there, else below. Straight lines; dimension 1.
    """
    growth = np.maximum(np.abs(1 - np.asarray(x)), np.abs(1 - 4 * np.asarray(y)))
    return np.where(growth > 1, 1.0, -1.0)
