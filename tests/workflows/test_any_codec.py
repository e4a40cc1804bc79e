"""Any method's codec by one command: made, saved, measured, used by `encode` and `decode`; the gin files name it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jax.random import key

from models.equal_info.load import load_codec
from models.equal_info.m1 import M1Config, train_m1
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from shammie.errors import UserError
from workflows import codec_cli, codes_cli, equal_info_paper
from workflows.any_codec import file_name, make_codec, methods_of, needs_m1
from workflows.bench import pipeline
from workflows.cli import main
from workflows.gin_config import gin_files

MIX = "words:300,windows:24/8,ac/16,static_ac/8,gzip/16,bytes,sentencepiece_unigram:400,greedy_windows:16/16"
FILES = [
    "ac_16",
    "bytes",
    "greedy_windows_16_16",
    "gzip_16",
    "sentencepiece_unigram_400",
    "static_ac_8",
    "windows_24_8",
]
TEXT = b"def f(x):\n    return x  # what is returned\n\n" * 60 + "é ﬁ \u2581\n".encode()
HELD_OUT = b"def g(y):\n    return what  # \xff\n" * 9


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with m1.bin, the codecs of MIX, and their measures."""
    home = tmp_path_factory.mktemp("codes")
    m1 = train_m1(M1Config(width=16, steps=20, batch=16), np.frombuffer(TEXT, np.uint8), key(0))
    (home / "m1.bin").write_bytes(m1.to_bytes())
    (home / "train").write_bytes(TEXT)
    (home / "test").write_bytes(HELD_OUT)
    words = ["--train", str(home / "train"), "--test", str(home / "test"), "--m1", str(home / "m1.bin")]
    assert main(["codes", "--codes", MIX, *words, "--save", str(home / "out"), "--json", str(home / "found")]) == 0
    return home


def test_one_command_makes_any_mix(made: Path) -> None:
    assert sorted(path.name for path in (made / "out").iterdir()) == sorted(f"{x}.codec" for x in [*FILES, "words-300"])
    rows = {row["name"]: row for row in json.loads((made / "found").read_text())}
    assert list(rows) == ["words-300", *MIX.split(",")[1:]]
    for method, row in rows.items():
        codec = load_codec(str(made / "out" / file_name(method)))
        assert row["vocab_size"] == codec.vocab_size
        assert row["bytes_per_token"] == pytest.approx(len(HELD_OUT) / len(codec.encode(HELD_OUT)))
        stream = method.partition(":")[0].partition("/")[0] in ("windows", "greedy_windows", "ac", "static_ac", "gzip")
        assert (row["bigram_bits_per_byte"] is None) == stream
        assert row["lossless"] or not codec.lossless
        assert min(row["encode_mb_per_s"], row["decode_mb_per_s"]) > 0
    assert rows["bytes"]["bytes_per_token"] == 1


@pytest.mark.parametrize("name", [*FILES, "words-300"])
@pytest.mark.parametrize("block_bytes", [5, 1 << 22])
def test_encode_and_decode_take_any_codec(made: Path, tmp_path: Path, monkeypatch, name: str, block_bytes: int) -> None:
    monkeypatch.setattr(codec_cli, "BLOCK_BYTES", block_bytes)
    path = "bytes" if name == "bytes" else str(made / "out" / f"{name}.codec")
    codec, codes, back = load_codec(path), tmp_path / "codes", tmp_path / "back"
    assert main(["encode", str(made / "test"), "-o", str(codes), "--codec", path]) == 0
    assert np.array_equal(np.frombuffer(codes.read_bytes(), "<u2"), codec.encode(HELD_OUT))
    assert main(["decode", str(codes), "-o", str(back), "--codec", path]) == 0
    assert back.read_bytes() == HELD_OUT or not codec.lossless


def test_damaged_codes_are_one_line(made: Path, tmp_path: Path, capsys) -> None:
    codes = tmp_path / "codes"
    for name, values, said in (
        ("gzip_16", [1, 2], "piece 0 is no zlib stream"),
        ("bytes", [7, 300], "code 300 at position 1 is not below 256"),
        ("sentencepiece_unigram_400", [200, 1], "code 1 at position 1 stands for no text"),
    ):
        codes.write_bytes(np.array(values, "<u2").tobytes())
        path = str(made / "out" / f"{name}.codec")
        assert main(["decode", str(codes), "-o", str(tmp_path / "text"), "--codec", path]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "text").exists()


@pytest.mark.parametrize("name", ["bytes", "gzip_16", "sentencepiece_unigram_400"])
def test_the_pipelines_benchmark_takes_any_codec(made: Path, tmp_path: Path, name: str) -> None:
    text = str(tmp_path / "text.txt")
    pipeline.write_text(text, form="text", size=20_000)
    assert pipeline._bare(text, "bytes" if name == "bytes" else str(made / "out" / f"{name}.codec")) > 0


def test_no_m1_is_trained_where_none_is_needed(made: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(codes_cli, "_m1", lambda *_: pytest.fail("M1 was trained"))
    words = ["--train", str(made / "train"), "--test", str(made / "test"), "--save", str(tmp_path)]
    assert main(["codes", "--codes", "bytes,gzip/8", *words]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes.codec", "gzip_8.codec"]
    (row,) = [line for line in capsys.readouterr().out.splitlines() if " bytes " in line and "256" in line]
    assert [cell.strip() for cell in row.split("│")[1:5]][0:3] == ["bytes", "256", "1"]
    assert row.split("│")[7].strip() == ""  # nothing is compiled


def test_methods_are_named_once_and_rightly() -> None:
    assert methods_of(["pruned-65536", "delay:2048:11", "windows:16:2/16", "bytes"]) == [
        "pruned-65536", "delay-2048", "windows:16:2/16", "bytes"
    ]  # fmt: skip
    assert file_name("windows:16:never/8") == "windows_16_never_8.codec"
    assert [needs_m1(method) for method in ("bytes", "gzip/8", "static_ac/8", "sentencepiece:400")] == [False] * 4
    assert all(map(needs_m1, ("ac/8", "windows:24/8", "greedy_windows:16/16", "words-300")))
    for wrong, message in (
        (["bytes", "bytes"], "the code bytes is named twice"),
        (["delay:65536/8"], "'delay:65536/8' reads the ids of another codec; make that: delay:65536"),
        (["byte"], "unknown code 'byte'; did you mean bytes"),
        (["sentencepiece:100000"], "300 or more, up to 65536"),
    ):
        with pytest.raises(UserError, match=message):
            methods_of(wrong)
    with pytest.raises(UserError, match="words-300 needs a trained M1"):
        make_codec("words-300", None, [TEXT])
    with pytest.raises(UserError, match="no training document is UTF-8"):
        make_codec("sentencepiece:400", None, [b"\xff"])


def test_every_method_of_the_papers_table_has_a_codec() -> None:
    methods = [str(method).removesuffix("/8") if "delay" in str(method) else method for method in equal_info_paper.ROWS]
    for method in methods:
        assert methods_of([method])
        assert re.fullmatch(r"[a-z0-9_-]+\.codec", file_name(methods_of([method])[0]))


def test_the_gin_files_name_the_commands_that_make_their_tokens(repository: Path) -> None:
    names = [name for name in gin_files() if name.startswith("gin/equal_info/tokens/")]
    assert len(names) == 18
    for name in names:
        text = (repository / name).read_text()
        codec = re.search(r"^# Codec: +shammie codes --codes (\S+)(.*) --save FOLDER$", text, re.MULTILINE)
        data = re.search(r"^# Data: +python -m beam_jobs.equal_info --codec ([\w/.]+)", text, re.MULTILINE)
        assert data is not None
        if codec is None:
            assert data.group(1) == "bytes"
            continue
        (method,) = methods_of([codec.group(1)])
        assert data.group(1) == f"FOLDER/{file_name(method)}"
        assert ("--m1 m1.bin" in codec.group(2)) == needs_m1(method)


def test_m1_may_be_a_language_model_over_bytes() -> None:
    config = LMConfig(vocab_size=258, width=8, layers=1, heads=1, head_width=8, mlp_width=8)
    params = DecoderLM(config).init(key(0), np.zeros((1, 2), np.int32))["params"]
    for made_with in ("bytes", BytesCodec().fingerprint):
        m1 = codes_cli.m1_of_bytes(TrainedLM(config, params, made_with).to_bytes())
        assert (m1.config.kind, m1.config.window_bytes) == ("decoder", 1024)
    with pytest.raises(UserError, match="the language model reads ids of other, not bytes"):
        codes_cli.m1_of_bytes(TrainedLM(config, params, "other").to_bytes())
    with pytest.raises(UserError, match="not a trained M1"):
        codes_cli.m1_of_bytes(b"neither")
