"""`shammie encode` and `decode`: streaming changes nothing, and bad input is named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from workflows import codec_cli
from workflows.cli import main

WORDS = [bytes([byte]) for byte in range(256)] + [b"the ", b"ther", b"e b", b"brown fox", b"fox jumps over the lazy"]
TEXT = b"the brown fox jumps over the lazy dog; rather brown, the \xff\x00 other one. " * 999


@pytest.fixture
def codec_path(tmp_path: Path) -> str:
    path = tmp_path / "words.codec"
    Codec(dictionary_of_strings(WORDS), scheme="pruned").save(str(path))
    return str(path)


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 1 << 22])
def test_blocks_of_any_size_give_the_same_codes(
    tmp_path: Path, codec_path: str, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    text = TEXT[:2000] if block_bytes < 100 else TEXT
    source, codes, back = tmp_path / "text", tmp_path / "codes", tmp_path / "back"
    source.write_bytes(text)
    monkeypatch.setattr(codec_cli, "BLOCK_BYTES", block_bytes)
    assert main(["encode", str(source), "-o", str(codes), "--codec", codec_path]) == 0
    assert np.array_equal(np.frombuffer(codes.read_bytes(), "<u2"), Codec.load(codec_path).encode(text))
    assert main(["decode", str(codes), "-o", str(back), "--codec", codec_path]) == 0
    assert back.read_bytes() == text


def test_stdin_to_stdout_through_two_processes(codec_path: str) -> None:
    command = [sys.executable, "-m", "workflows.cli"]
    codes = subprocess.run([*command, "encode", "--codec", codec_path], input=TEXT, capture_output=True, check=True)
    back = subprocess.run(
        [*command, "decode", "-", "--codec", codec_path], input=codes.stdout, capture_output=True, check=True
    )
    assert back.stdout == TEXT
    assert np.array_equal(np.frombuffer(codes.stdout, "<u2"), Codec.load(codec_path).encode(TEXT))


def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, codec_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for words, said in (
        (["encode", str(tmp_path / "missing")], "does not exist"),
        (["encode", codec_path, "--codec", str(tmp_path / "none.codec")], "does not exist"),
        (["encode", codec_path, "--codec", __file__], "is not a codec"),
        (["decode", codec_path], "half a code|is not below 261"),
        (["encode", codec_path, "--threads", "0"], "--threads is 0; give 1 or more"),
    ):
        full = [*words, "-o", str(out)] + ([] if "--codec" in words else ["--codec", codec_path])
        assert main(full) == 2
        error = capsys.readouterr().err
        assert any(option in error for option in said.split("|")), error
        assert error.count("\n") == 1
        assert not out.exists()


def test_a_code_out_of_range_is_named(
    tmp_path: Path, codec_path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = tmp_path / "codes"
    codes.write_bytes(np.array([1, 2, 3, 9999], "<u2").tobytes())
    for block_bytes in (1 << 22, 4):
        monkeypatch.setattr(codec_cli, "BLOCK_BYTES", block_bytes)
        assert main(["decode", str(codes), "-o", str(tmp_path / "text"), "--codec", codec_path]) == 2
        assert "code 9999 at position 3 is not below 261" in capsys.readouterr().err
