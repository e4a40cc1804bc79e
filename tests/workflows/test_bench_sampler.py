import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shammie.errors import UserError
from workflows import cli
from workflows.bench import sampler
from workflows.bench.sampler import Turn

TINY = {"vocab_size": 64, "width": 16, "layers": 1, "heads": 2, "head_width": 8, "mlp_width": 32}


def _args(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sampler.add_arguments(parser)
    return parser.parse_args(list(words))


def test_a_static_batch_waits_for_its_longest_row_and_its_padding_is_no_token() -> None:
    rows = [[5, 1, 0, 0], [5, 5, 5, 1], [1, 0], [5, 1]]
    turn = sampler.static_turn(2.0, rows, 2, 1)
    assert turn.tokens == 2 + 4 + 1 + 2
    assert turn.slot_use == pytest.approx(9 / (2 * 4 + 2 * 2))
    assert sampler.static_turn(2.0, rows, 2, -1).tokens == 12


def test_ratios_are_of_turns_one_after_the_other() -> None:
    # the machine slows down by and by: the medians of each side alone would hide it
    ours = [Turn(seconds, 300, 0.9) for seconds in (1.0, 2.0, 4.0)]
    theirs = [Turn(seconds, 100, 0.5) for seconds in (0.5, 1.0, 2.0)]
    told = {"torch": "2", "transformers": "5", "threads": 2}
    table = sampler.table(
        {("base", "samples end"): (ours, theirs)}, _args("--problems", "5", "--samples", "2"), told, ""
    )
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["tokens/s"], row["peer tokens/s"], row["ratio"], row["mean tokens"]) == (150, 100, 1.5, 30.0)
    assert [(target.measured, target.reached) for target in table.targets] == [(1.5, False), (0.9, True)]


def test_without_a_peer_ours_is_reported_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Path:
        raise UserError("the peer's environment cannot be made: no network", "give --peer_python")

    monkeypatch.setattr(sampler, "peer_environment", refuse)
    monkeypatch.setitem(sampler.SIZES, "base", TINY)
    words = ("--sizes", "base", "--problems", "3", "--samples", "16", "--prompt_tokens", "6", "--new_tokens", "16")
    table = sampler.run(_args(*words, "--batch_size", "8", "--turns", "1"))
    ends, endless = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert 4 < ends["mean tokens"] < 12  # half of the limit, by chance
    assert endless["mean tokens"] == 16
    assert ends["tokens/s"] > 0
    assert ends["ratio"] is None
    assert [target.what for target in table.targets] == ["base: slots in use"]
    assert table.notes[0].startswith("no peer: the peer's environment cannot be made: no network")


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        wrong = "pip" in command
        return subprocess.CompletedProcess(command, int(wrong), "", "a\nERROR: no such version\n" if wrong else "")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(UserError, match="cannot be made: ERROR: no such version"):
        sampler.peer_environment(tmp_path / "peer")
    assert not (tmp_path / "peer" / "made-with.json").exists()


def test_the_twins_weights_are_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sampler.SIZES, "base", TINY)
    network, params, prompts = sampler.model_and_prompts("base", _args("--prompt_tokens", "6", "--problems", "2"))
    assert len(prompts) == 2
    assert all(prompt[0] == 0 and 2 <= len(prompt) <= 6 for prompt in prompts)
    sampler.write_model(str(tmp_path / "model.npz"), network.config, params)
    data = np.load(tmp_path / "model.npz")
    assert json.loads(str(data["config"]))["vocab_size"] == 64
    np.testing.assert_array_equal(data["mlp_0/gate/kernel"], params["mlp_0"]["gate"]["kernel"])
    assert np.all(data["attention_0/out/kernel"][..., 0] == 0)  # the coordinate behind the end id stays as it is


def test_a_twin_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the peer's process ended"), sampler.twin(sys.executable, str(tmp_path / "no")):
        pass


def test_the_twin_is_no_benchmark() -> None:
    assert "sampler" in cli._benches()
    assert not [name for name in cli._benches() if name.startswith("_")]
