"""The system from end to end at toy size, and what its gin files promise."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.codes import full
from models.equal_info.m1 import M1, M1Config, network_of
from models.lm import DecoderLM, LMConfig
from models.lm.flops import steps_for
from workflows import equal_info, gin_config
from workflows.cli import main
from workflows.compare_codes import CodeSpec, build, spec_of
from workflows.dag import load_records, plan
from workflows.equal_info_report import _spans
from workflows.language_models import settings_of
from workflows.parquet_corpus import CorpusWriter, sample_documents

TINY = ["--size", "tiny"]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("equal_info")
    assert main(["run", "equal_info", *TINY, "--out", str(out)]) == 0
    return out


def _steps(size: str, *bindings: str) -> list[Any]:
    gin_config.parse([f"gin/equal_info/{size}.gin"], bindings, modules=["workflows.equal_info"])
    return gin_config.call(equal_info.steps)


def test_the_result_is_flat_and_adds_up(tiny_run: Path) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    assert all(isinstance(value, int | float | str | bool) for value in result.values())
    splits = ("train", "validation", "test")
    assert sum(result[f"readback_{split}_documents"] for split in splits) == result["corpus_documents"]
    assert sum(result[f"{split}_bytes"] for split in splits) == result["corpus_bytes"] > 5e6
    assert re.fullmatch(r"[0-9a-f]{64}", result["corpus_sha256"])
    assert not result["greedy_65536_lossless"]
    assert all(result[f"{code}_4096_lossless"] for code in ("delay", "full", "pruned"))
    assert result["pruned_4096_bytes_per_token"] > 1.1 * result["full_4096_bytes_per_token"]
    assert result["full_4096_bytes_per_token"] > 1.1 * result["delay_4096_bytes_per_token"]
    tokens = result["readback_test_tokens"] - result["readback_test_documents"]
    assert result["test_bytes"] / tokens == pytest.approx(result["pruned_4096_bytes_per_token"], rel=0.25)


def test_the_dataset_is_of_the_codec_in_the_result(tiny_run: Path) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    (artefact,) = tiny_run.glob("codes-*/pruned-4096.codec")
    codec = Codec.load(str(artefact))
    assert codec.fingerprint == result["codec_fingerprint"]
    assert codec.notes["corpus_sha256"] == result["corpus_sha256"]
    (dataset,) = tiny_run.glob("dataset-*")
    for split in ("train", "validation", "test"):
        manifest = json.loads((dataset / f"manifest.{split}.json").read_text())
        assert manifest["config"]["codec_fingerprint"] == codec.fingerprint


def test_the_report_is_one_page_that_needs_nothing_else(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text()
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings[0] == "Language models at equal training FLOPs"
    assert {"Density", "Speed", "Density against learnability", "Learning", "Samples"} <= set(headings)
    assert {"Windows over a sample", "Small edits", "M1", "Make it again"} <= set(headings)
    assert page.count("<svg") >= 7
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(https?:[^"\')]*)', page))
    assert all("w3.org" in address or "purl.org" in address or "matplotlib" in address for address in addresses)
    assert "not what was encoded!" in page  # greedy's lost windows are shown, not hidden
    (measures,) = tiny_run.glob("measures-*/measures.json")
    shown = re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    for row in json.loads(measures.read_text())["rows"]:
        cells = [row["name"], f"{row['vocab_size']:,}", f"{row['bytes_per_token']:.3f}"]
        assert "".join(f"<td>{cell}</td>" for cell in cells) in shown
        assert f"<td>{row['stability']['changed_tokens']:.1f}</td>" in shown
    assert "<td>5.31</td>" in shown  # the paper's greedy windows


def test_language_models_read_the_dataset_and_token_files_and_are_in_the_report(tiny_run: Path) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    told = {lm["method"]: lm for path in tiny_run.glob("lm-*/lm.json") for lm in [json.loads(path.read_text())]}
    assert set(told) == {"pruned:4096", "words:1024", "bytes"}
    page = (tiny_run / "report.html").read_text()
    for method, lm in told.items():
        assert lm["training_flops"] == pytest.approx(3e9, rel=0.05)
        bits = lm["runs"][0]["bits_per_byte"]
        assert 2 < bits < 8
        assert result[f"lm_{method.replace(':', '_')}_bits_per_byte"] == bits
        assert f"<td>{method}</td>" in page
        assert f"<td>{bits:.4f}</td>" in page
    ratio = result["lm_pruned_4096_bits_per_byte"] / result["lm_bytes_bits_per_byte"]
    assert result["ours_over_bytes_bits_per_byte"] == pytest.approx(ratio)
    # the model over the dataset's own code has no token files of its own, the other two have
    made_with = [json.loads(path.read_text())["made_with"] for path in tiny_run.glob("tokens-*/train.tokens.json")]
    assert len(made_with) == 2
    assert result["codec_fingerprint"] not in made_with


def test_everything_is_cached_and_a_changed_number_reruns_its_dependants_only(tiny_run: Path) -> None:
    assert {row.state for row in plan(_steps("tiny"), str(tiny_run))} == {"cached"}
    states = {row.step.name: row.state for row in plan(_steps("tiny", "TEST_MB=0.3"), str(tiny_run))}
    assert {name for name, state in states.items() if state != "cached"} == {"measures", "report"}
    states = {row.step.name: row.state for row in plan(_steps("tiny", "M1_STEPS=61"), str(tiny_run))}
    assert states["corpus"] == "cached"
    assert states["m1"] != "cached"


def test_records_say_what_made_them(tiny_run: Path) -> None:
    records = {record["name"]: record for record in load_records(str(tiny_run))}
    assert set(records) == {"corpus", "m1", "codes", "dataset", "readback", "tokens", "lm", "measures", "report"}
    assert records["m1"]["config"]["m1"]["steps"] == 60
    assert "M1_STEPS = 60" in (tiny_run / "config.gin").read_text()


def test_windows_drawn_cover_the_text_exactly(tiny_run: Path) -> None:
    text = b"def windows(text):\n    return '<&>' # not \xff lost\n" * 3
    for path in sorted(tiny_run.glob("codes-*/*.codec")):
        codec = Codec.load(str(path))
        spans = _spans(codec, text, codec.encode(text))
        shown = html.unescape(re.sub(r"<[^>]*>", "", spans)).replace("\u21b5", "")
        assert shown == text.decode("utf-8", "replace"), path.name
        assert spans.count("<span") == len(codec.encode(text))
        assert ("not what was encoded" in spans) == (not codec.lossless)


@pytest.mark.parametrize(
    ("text", "spec", "name"),
    [
        ("pruned:65536", CodeSpec("pruned", 65536, 16), "pruned-65536"),
        ("full:1024:12", CodeSpec("full", 1024, 12), "full-1024-12"),
        ("delay:4096", CodeSpec("delay", 4096, 12), "delay-4096"),
        ("delay-65536", CodeSpec("delay", 65536, 16), "delay-65536"),
    ],
)
def test_a_codes_name_says_all_that_tells_it_apart(text: str, spec: CodeSpec, name: str) -> None:
    assert spec_of(text) == spec
    assert str(spec) == name
    assert spec_of(name) == spec


def test_a_code_that_reads_otherwise_than_its_automaton_is_refused(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    m1 = M1.from_bytes(next(tiny_run.glob("m1-*/m1.bin")).read_bytes())
    text = np.frombuffer(Path(equal_info.__file__).read_bytes(), np.uint8)
    assert build(CodeSpec("full", 512), m1, text).vocab_size == 512
    monkeypatch.setattr(full, "segment", lambda dictionary, text: np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match=r"full\.segment reads text otherwise"):
        build(CodeSpec("full", 512), m1, text)


def test_codes_are_compared_side_by_side(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (m1,) = tiny_run.glob("m1-*/m1.bin")
    text = Path(equal_info.__file__).read_bytes() * 20
    (tmp_path / "train").write_bytes(text)
    (tmp_path / "test").write_bytes(text[:5000])
    words = ["codes", "--codes", "greedy:4096,delay:4096,full:512,full:1024", "--m1", str(m1), "--save", str(tmp_path)]
    words += ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--json", str(tmp_path / "j.json")]
    assert main(words) == 0
    measured = {row["name"]: row for row in json.loads((tmp_path / "j.json").read_text())}
    shown = capsys.readouterr().out
    assert all(name in shown for name in measured)
    assert measured["full-1024"]["bytes_per_token"] > measured["full-512"]["bytes_per_token"] > 1
    assert not measured["greedy-4096"]["lossless"]
    codec = Codec.load(str(tmp_path / "full-512.codec"))
    assert 5000 / len(codec.encode(text[:5000])) == pytest.approx(measured["full-512"]["bytes_per_token"])
    assert main(["codes", "--codes", "delay:5000"]) == 2
    assert "5000 is not 2^12" in capsys.readouterr().err


def test_text_of_ones_own(tmp_path: Path) -> None:
    words = ["water", "fire", "earth", "air", "stone", "река", "残り火", "wölkchen"]
    generator = np.random.default_rng(0)
    lines = [" ".join(generator.choice(words, 12)) for _ in range(1500)]  # the words are of several scripts
    (tmp_path / "one.txt").write_bytes("\n".join(lines[:700]).encode() + b"\n\xff\xfe not utf-8\n")
    (tmp_path / "two.jsonl").write_text(
        "".join(json.dumps({"text": line}) + "\n" for line in lines[700:]) + "{broken\n"
    )
    small = ["--gin.CODES=('delay:4096', 'full:512')", "--gin.CODE='full:512'", "--gin.M1_STEPS=30"]
    small += ["--gin.PEER_VOCAB_SIZES=(400,)", "--gin.LM_METHODS=('full:512', 'sentencepiece:400')"]
    inputs = ["--input", str(tmp_path / "one.txt"), str(tmp_path / "two.jsonl")]
    assert main(["run", "equal_info", *TINY, "--out", str(tmp_path / "out"), *inputs, *small]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["corpus_documents"] == 1501
    assert sum(result[f"readback_{split}_documents"] for split in ("train", "validation", "test")) == 1501
    assert result["tiktoken_400_lossless"]
    ratio = result["lm_full_512_bits_per_byte"] / result["lm_sentencepiece_400_bits_per_byte"]
    assert result["ours_over_sentencepiece_bits_per_byte"] == pytest.approx(ratio)
    assert result["sentencepiece_bpe_400_lossless"]
    assert str(tmp_path) not in json.dumps(result)
    assert str(tmp_path) not in json.dumps(Codec.load(str(next(tmp_path.glob("out/codes-*/full-512.codec")))).notes)


def test_samples_end_between_characters(tmp_path: Path) -> None:
    text = "残り火と雲".encode() * 100
    with CorpusWriter(str(tmp_path)) as writer:
        writer.write("train", "a", text)
    for size in range(200, 230):
        (sample,) = sample_documents(str(tmp_path), "train", size / 1e6) or [b""]
        assert size - 3 < len(sample) <= size or not sample
        assert sample.decode() == text.decode()[: len(sample) // 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "/nowhere/at/all.txt"], "/nowhere/at/all.txt"),
        (["--gin.CODE='full:512'"], "'full:512' is none of codes"),
        (["--gin.CODES=('huffman:4096',)"], "unknown code 'huffman'"),
        (["--gin.CODES=('delay:5000',)"], "5000 is not 2^12"),
        (["--gin.CODES=('full:512', 'full:512')"], "full-512 is named twice"),
        (["--gin.CODES='full:512'"], "give a list"),
        (["--gin.CODES=('full:512:30',)"], "9 to 16 bits"),
        (["--gin.M1_STEPS=0"], "M1Config.steps is 0"),
        (["--gin.TRAIN_MB='x'"], "train_mb is 'x'"),
        (["--gin.M1_STEP=3"], "M1_STEPS"),
        (["--gin.CODES=('pruned:4096',)"], "the method words:1024 needs the code words-1024; add it to CODES"),
        (["--gin.language_models.LMSettings.example_bytes=512"], "example_bytes is for the paper's table alone"),
        (["--size", "giant"], "giant"),
    ],
)
def test_mistakes_are_one_line_with_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    size = [] if "--size" in words else TINY
    assert main(["run", "equal_info", *size, "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_the_papers_model_has_the_papers_size() -> None:
    """Without allocating it: arXiv:2404.03626 Table 4 gives 3m, 3.15 million without embeddings."""
    (report,) = _steps("paper")
    settings = dict(report.inputs["m1"].config["m1"])
    config = M1Config(**{**settings, "decoder": LMConfig(**settings["decoder"])})
    assert (config.kind, config.batch, config.steps) == ("decoder", 128, 2_500_000)
    assert config.decoder.block_parameters() == 3_145_728
    shapes = jax.eval_shape(network_of(config).init, jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 3_145_728 < total < 3_145_728 + 2 * 257 * 256 + 3 * 128 * 64 + 8 * 256


def test_the_papers_language_model_has_the_papers_size_and_length() -> None:
    """arXiv:2404.03626 Table 4, 25m: 25.2 million, and 200,000 steps of 256 x 512 tokens where a token has 16 bits."""
    (report,) = _steps("paper")
    by_method = {step.config["method"]: step for name, step in report.inputs.items() if name.startswith("lm_")}
    settings = settings_of(by_method["delay:65536"].config["lm"])
    assert settings.model.block_parameters() == 25_165_824
    assert (settings.length, settings.batch_size, settings.optimizer.name) == (512, 256, "adafactor")
    config = replace(settings.model, vocab_size=65538)
    steps = steps_for(config, training_flops=settings.training_flops, batch_size=256, length=512)
    assert steps == pytest.approx(200_000, rel=0.01)
    shapes = jax.eval_shape(DecoderLM(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert total == 25_165_824 + 2 * 65538 * 512 + 6 * 128 * 64 + 13 * 512


def test_small_has_seeds_and_each_measures_anew() -> None:
    (report,) = _steps("small")
    measures = [given for name, given in report.inputs.items() if name.startswith("measures_")]
    assert len({step.identity for step in measures}) == 3
    assert [bool(step.config["peer_vocab_sizes"]) for step in measures] == [True, False, False]


def test_streams_are_made_from_m1_and_need_no_code() -> None:
    (report,) = _steps("tiny", "LM_METHODS=('pruned:4096', 'windows:16/8', 'gzip/8')")
    by_method = {step.config["method"]: step for name, step in report.inputs.items() if name.startswith("lm_")}
    assert set(by_method["windows:16/8"].inputs["tokens"].inputs) == {"corpus", "m1"}
    assert set(by_method["gzip/8"].inputs["tokens"].inputs) == {"corpus"}
    assert by_method["pruned:4096"].inputs["tokens"].name == "dataset"
