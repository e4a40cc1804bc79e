"""The paper's table as a DAG: which cells, what they share, the paper's sizes, and a run from end to end."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from models.equal_info.m1 import M1Config
from models.lm import DecoderLM, LMConfig
from shammie.errors import UserError
from workflows import equal_info, gin_config
from workflows.cli import main
from workflows.dag import Step
from workflows.dag_step import in_order
from workflows.equal_info_paper import SIZES
from workflows.equal_info_table import Size, TableSettings
from workflows.language_models import LMSettings, settings_of

TINY = ["--size", "paper_table_tiny"]
SMALL_BINDINGS = [
    "--gin.METHODS=('bytes', 'gzip/8')",
    "--gin.PROBES=('bytes',)",
    "--gin.equal_info_table.TableSettings.repeated=()",
    "--gin.equal_info_table.TableSettings.byte_matched=()",
    "--gin.equal_info_table.NoiseSettings.sizes=(1e-2,)",
]


def _table(size: str, *bindings: str) -> Step:
    gin_config.parse([f"gin/equal_info/{size}.gin"], bindings, modules=["workflows.equal_info"])
    (report,) = gin_config.call(equal_info.steps)
    return report


def _cells(table: Step) -> list[tuple[dict[str, Any], Step]]:
    steps = [table.inputs[f"cell_{number}"] for number in range(len(table.config["cells"]))]  # type: ignore[arg-type]
    return list(zip(table.config["cells"], steps, strict=True))  # type: ignore[arg-type]


def test_tiny_has_every_kind_of_cell() -> None:
    cells = _cells(_table("paper_table_tiny"))
    told = {(about["method"], about["size"], about["seed"], about["length"]) for about, _ in cells}
    assert len(told) == len(cells) == 12
    assert ("bytes", "3k", 1, 32) in told  # repeated with another seed
    assert ("windows:16/16", "3k", 0, 16) in told  # at as many bytes as 8-bit tokens
    assert ("windows:16/16", "3k", 0, 32) in told
    assert ("windows:16/16", "10k", 0, 32) not in told  # over the size's largest vocabulary
    for about, step in cells:
        lm = settings_of(step.config["lm"])  # type: ignore[arg-type]
        assert (lm.steps, lm.length, lm.example_bytes, tuple(lm.seeds)) == (12, about["length"], 512, (about["seed"],))


def test_another_method_or_size_leaves_the_others_cells_as_they_are() -> None:
    def cells(*bindings: str) -> set[str]:
        return {step.identity for _, step in _cells(_table("paper_table_tiny", *bindings))}

    base = cells()
    assert base < cells("METHODS=('bytes', 'words:1024', 'ac/8', 'windows:16/8', 'windows:16/16', 'gzip/16')")
    assert cells("SIZES=(@s/equal_info_table.Size(),)") < base
    assert not base & cells("STEPS=13")
    assert cells("TEST_MB=0.04") != base


def test_m1_and_codes_are_made_once_and_only_for_those_who_need_them() -> None:
    steps = in_order([_table("paper_table_tiny")])
    by_name = {step.name: step for step in steps}
    assert [step.name for step in steps].count("m1") == 1
    assert by_name["codes"].config["codes"] == ["words-1024"]
    needs = {step.config["method"]: set(step.inputs) - {"corpus"} for step in steps if step.name == "examples"}
    assert needs == {
        "bytes": set(), "words:1024": {"codes"}, "ac/8": {"m1"}, "windows:16/8": {"m1"}, "windows:16/16": {"m1"}
    }  # fmt: skip


def test_the_whole_grid_has_the_papers_sizes_and_length() -> None:
    """arXiv:2404.03626 Table 4 and section 3.6, without allocating anything."""
    table = _table("paper_table")
    by_size: dict[str, Any] = {}
    for about, step in _cells(table):
        lm = settings_of(step.config["lm"])  # type: ignore[arg-type]
        assert (lm.steps, lm.batch_size, lm.example_bytes, lm.optimizer.name) == (200_000, 256, 10_240, "adafactor")
        assert lm.length == (256 if about["method"] == "windows:16/16" and about["length"] == 256 else 512)
        by_size[about["size"]] = lm.model
    assert list(by_size) == list(SIZES)
    blocks = [model.block_parameters() for model in by_size.values()]
    assert blocks == [25_165_824, 113_246_208, 402_653_184, 1_610_612_736]
    config = replace(by_size["25m"], vocab_size=258)
    shapes = jax.eval_shape(DecoderLM(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 25_165_824 + 2 * 258 * 512 + 6 * 128 * 64 + 13 * 512
    m1_step = table.inputs["m1"]
    assert isinstance(m1_step, Step)
    m1: Any = m1_step.config["m1"]
    assert (m1["kind"], m1["batch"], m1["window_bytes"], m1["steps"]) == ("decoder", 128, 1024, 2_500_000)
    assert M1Config(**{**m1, "decoder": LMConfig(**m1["decoder"])}).decoder.block_parameters() == 3_145_728


def test_small_says_how_long_it_lasts_and_stands_beside_the_papers_sizes() -> None:
    table = _table("paper_table_small")
    assert [(size["name"], size["beside"]) for size in table.config["sizes"]] == [  # type: ignore[index, union-attr]
        ("0.1m", "25m"), ("0.4m", "113m"), ("1.6m", "403m"),
    ]  # fmt: skip
    blocks = {about["size"]: settings_of(step.config["lm"]).model.block_parameters()  # type: ignore[arg-type]
              for about, step in _cells(table)}  # fmt: skip
    assert blocks == {"0.1m": 131_072, "0.4m": 442_368, "1.6m": 1_638_400}
    assert all(step.lasts for step in in_order([table]) if step.name in ("m1", "examples", "cell", "probe"))


LM = LMSettings(steps=1, example_bytes=64)
ONE = (Size("s", LMConfig()),)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ()}, "no rows or no columns"),
        ({"methods": ("bytes", "wrods:2")}, "unknown code 'wrods'"),
        ({"sizes": ONE * 2}, "have one name"),
        ({"lm": LMSettings(steps=1)}, "needs steps and example_bytes"),
        ({"repeated": ("gzip/8",)}, "repeated names gzip/8, which is no method"),
    ],
)
def test_wrong_tables_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TableSettings(**{"methods": ("bytes",), "sizes": ONE, "lm": LM, "m1": M1Config(), **wrong})
    with pytest.raises(UserError, match="the paper has no size '3m'"):
        Size("s", LMConfig(), beside="3m")


def test_a_table_of_two_methods_from_text_to_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bindings = [*SMALL_BINDINGS, "--gin.SIZES=(@s/equal_info_table.Size(),)"]
    assert main(["run", "equal_info", *TINY, *bindings, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["bytes_bytes_per_token"] == 1.0
    assert result["bytes_uniform_bits_per_byte"] == 8.0
    for method in ("bytes", "gzip/8"):
        word = method.replace("/", "_")
        bits = result[f"{word}_3k_bits_per_byte"]
        assert 0 < bits < 12
        assert f"{bits:.3f}" in shown
    # bytes say exactly what they stand for; gzip's first 32 tokens are its header and say nothing yet
    assert result["bytes_3k_exact_bits_per_byte"] == pytest.approx(result["bytes_3k_bits_per_byte"])
    assert "gzip_8_3k_exact_bits_per_byte" not in result
    (examples,) = [path for path in tmp_path.glob("examples-*") if (path / "stream.bin").exists()]
    about = json.loads((examples / "examples.json").read_text())
    for split in ("train", "validation", "test"):
        info = json.loads((examples / f"{split}.tokens.json").read_text())
        assert info["tokens"] == 32 * about["splits"][split]["rows"]
    page = (tmp_path / "report.html").read_text()
    headings = set(re.findall(r"<h2>(.*?)</h2>", page))
    assert {"Bits per byte", "FLOPs per byte", "How stable tokens are", "Every cell"} <= headings
    assert main(["plan", "equal_info", *TINY, *bindings, "--out", str(tmp_path)]) == 0
    assert "missing" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_tiny_table_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "equal_info", *TINY, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert "windows:16/16" in capsys.readouterr().out
    assert result["ac_8_bytes_per_token"] > result["windows_16_8_bytes_per_token"] > 1
    assert result["windows_16_16_bytes_per_token"] == pytest.approx(2 * result["windows_16_8_bytes_per_token"])
    gains = result["windows_16_16_3k_bits_per_byte"] < result["windows_16_8_3k_bits_per_byte"]
    assert ("windows_16_16_structural_share" in result) == gains
    assert result["probe_decompress_windows_16_8_chance_nats"] == pytest.approx(5.545, abs=1e-3)
    assert result["noise_nothing_changed_tables"] == result["noise_whole_numbers__one_by_one_changed_tables"] == 0
    page = (tmp_path / "report.html").read_text()
    assert {"By position in the window", "A large vocabulary at as many bytes"} <= set(
        re.findall(r"<h2>(.*?)</h2>", page)
    )
