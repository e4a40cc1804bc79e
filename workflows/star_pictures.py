"""The pictures of STAR's theory: matplotlib figures from `star_theory`'s JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from workflows.parameterization_pictures import panels
from workflows.report import new_figure

COLOURS = ("#0b6e8f", "#d9822b", "#5b8c3a", "#8a4f9e")


def stability(regions: Mapping[str, Any]) -> Any:
    """The spectral radius against a h, with where stability ends by the closed form."""
    figure, axes = new_figure(8.0, 3.2)
    for shade, (name, radii) in zip(COLOURS, regions["radii"].items(), strict=False):
        limit = regions["limits"][name]
        axes.plot(regions["steps"], np.minimum(radii, 1.6), color=shade, lw=1.6, label=f"{name}: below {limit:.6g}")
        axes.axvline(limit, color=shade, lw=1, ls=":")
    axes.axhline(1, color="#9aa1a8", lw=0.8)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.6)
    axes.set_xlabel("rate times curvature, a h")
    axes.set_ylabel("spectral radius")
    axes.legend(frameon=False, title="stable where a h is")
    return figure


def stability_with_block(regions: Mapping[str, Any]) -> Any:
    """The regions of stability over the learned block and the nominal rate."""
    names = list(regions["block_radii"])
    figure, axes = panels(1, len(names), width=9.2, height=3.1, sharex=True, sharey=True)
    picture = None
    for one, name in zip(axes[0], names, strict=True):
        radii = np.array(regions["block_radii"][name])
        picture = one.pcolormesh(
            regions["block_steps"], regions["block_shares"], np.clip(radii, 0.4, 1.6), cmap="RdBu_r", vmin=0.4,
            vmax=1.6, shading="nearest", rasterized=True,
        )  # fmt: skip
        one.contour(regions["block_steps"], regions["block_shares"], radii, [1.0], colors="black", linewidths=1)
        one.set_xscale("log")
        one.set_title(name, fontsize=10)
        one.set_xlabel("nominal, a h")
    axes[0, 0].set_ylabel("learned block, p h\n(below 0 it ascends)")
    if picture is not None:
        figure.colorbar(picture, ax=list(axes.flat), label="spectral radius (black: 1)", fraction=0.025, pad=0.02)
    return figure


def clouds(found: Mapping[str, Any]) -> Any:
    """Eigenvalues of random blocks beside the unit circle."""
    names = [name for name in found if name != "rate"]
    figure, axes = panels(1, len(names), width=9.2, height=3.3, sharex=True, sharey=True)
    angle = np.linspace(0, 2 * np.pi, 200)
    for one, name, shade in zip(axes[0], names, COLOURS, strict=False):
        cloud = found[name]
        one.fill(np.cos(angle), np.sin(angle), color="#eef1f3", zorder=0)
        one.plot(np.cos(angle), np.sin(angle), color="#9aa1a8", lw=0.8)
        one.scatter(cloud["real"], cloud["imaginary"], s=3, color=shade, alpha=0.5, lw=0, rasterized=True)
        one.set_title(f"{name}\n{cloud['stable_share']:.1%} of blocks stable", fontsize=10)
        one.set_aspect("equal")
        one.set_xlabel("real")
        one.set_xlim(-0.2, 1.4)
        one.set_ylim(-0.8, 0.8)
    axes[0, 0].set_ylabel("imaginary")
    figure.tight_layout()
    return figure


def meta_gradients(growth: Mapping[str, Any]) -> Any:
    """Norms of meta-gradients against the length of the unroll, and T rho^T through the last point."""
    figure, axes = new_figure(8.0, 3.4)
    lengths = np.array(growth["lengths"])
    fine = np.linspace(lengths[0], lengths[-1], 100)
    for shade, (name, norms) in zip(COLOURS, growth["norms"].items(), strict=False):
        radius = growth["radii"][name]
        axes.plot(lengths, norms, "o-", color=shade, ms=4, lw=1, label=f"radius {radius:.3f}")
        if radius > 1:
            line = norms[-1] * fine / lengths[-1] * radius ** (fine - lengths[-1])
            axes.plot(fine, line, ":", color=shade, lw=1.6)
    axes.set_yscale("log")
    axes.set_xlabel("steps of the unroll, T (dotted: T rho^T)")
    axes.set_ylabel("norm of the meta-gradient")
    axes.legend(frameon=False)
    return figure


def expected_loss(found: Mapping[str, Any]) -> Any:
    """The expected loss: closed form and simulation."""
    figure, axes = new_figure(8.0, 3.0)
    axes.plot(found["simulated"], color="#d9822b", lw=3, alpha=0.6, label=f"mean of {found['chains']:,} chains")
    axes.plot(found["closed"], color="#1c2024", lw=1, label="closed form")
    axes.axhline(found["stationary"], color="#0b6e8f", lw=1, ls=":", label="where it settles")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("expected loss")
    axes.legend(frameon=False)
    return figure


def random_theta(found: Mapping[str, Any]) -> Any:
    """Where untrained optimizers end, one point for each."""
    figure, axes = new_figure(8.0, 2.4)
    for row, shares in enumerate(found["shares"].values()):
        ends = np.array([np.inf if share is None else share for share in shares])
        shown = np.minimum(ends, 200)
        spread = np.linspace(-0.22, 0.22, len(ends))
        axes.plot(shown, -row + spread, "o", color=COLOURS[row], ms=4, alpha=0.75)
    axes.axvline(1, color="#9aa1a8", lw=1)
    axes.set_xscale("log")
    axes.set_yticks([-row for row in range(len(found["shares"]))], list(found["shares"]))
    axes.set_xlabel("final loss / loss of no knowledge (right of the line: worse than untrained)")
    return figure
