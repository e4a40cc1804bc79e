"""Language models at equal FLOPs: budgets, choice of the learning rate, resuming, and what is measured."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from seqio_tasks.token_files import write_tokens
from shammie.errors import UserError
from workflows import tokenizers
from workflows.equal_info_held_out import Documents, Texts, by_position, encoded
from workflows.language_models import LMSettings, Method, settings_json, settings_of, train_method
from workflows.serving import continued, serving_speed

WORDS = [b"alpha ", b"beta ", b"gamma ", b"delta\n"]
SETTINGS = LMSettings(
    methods=("bytes",),
    model=LMConfig(width=16, layers=1, heads=1, head_width=16, mlp_width=32, max_distance=8),
    training_flops=2e8,
    learning_rates=(1e-2, 1e-4),
    seeds=(0, 1),
    length=32,
    batch_size=4,
    context=64,
    curve_points=3,
)


def _text(seed: int, size: int) -> bytes:
    return b"".join(WORDS[number] for number in np.random.default_rng(seed).integers(0, 4, size))


def _method(directory: Path, settings: LMSettings = SETTINGS) -> Method:
    tokenizer = tokenizers.of_bytes()
    train = [_text(seed, 300) for seed in range(20)]
    write_tokens(
        str(directory / "data"),
        "train",
        tokenizer.encode(train),
        vocab_size=tokenizer.vocab_size,
        text_bytes=sum(map(len, train)),
        made_with=tokenizer.made_with,
    )
    texts = Texts(validation=[_text(100, 40)], test=[_text(101, 60), _text(102, 30)])
    held_out = Documents(tokenizer, texts, settings.context)
    reads = (tokenizer.name, tokenizer.vocab_size, tokenizer.made_with)
    return Method(settings, *reads, str(directory / "data"), held_out, str(directory / "out"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Method, dict]:
    method = _method(tmp_path_factory.mktemp("lm"))
    return method, train_method(method)


def test_the_budget_is_kept_and_the_better_rate_trains_the_other_seeds(measured: tuple[Method, dict]) -> None:
    _, told = measured
    assert told["training_flops"] == pytest.approx(2e8, rel=0.02)
    assert [run["learning_rate"] for run in told["tried"]] == [1e-2, 1e-4]
    bits = [run["validation_bits_per_byte"] for run in told["tried"]]
    assert bits[0] < bits[1] - 0.1
    assert [(run["learning_rate"], run["seed"]) for run in told["runs"]] == [(1e-2, 0), (1e-2, 1)]


def test_bits_per_byte_are_between_the_texts_entropy_and_uniform_bytes(measured: tuple[Method, dict]) -> None:
    """One of four words at random: 2 bits for 5.75 bytes on average."""
    _, told = measured
    for run in told["runs"]:
        assert 2 / 5.75 < run["bits_per_byte"] < math.log2(258)
        assert run["byte_matched_context"] in (64, 65)
    flops, curve = zip(*told["runs"][0]["curve"], strict=True)
    assert flops[-1] == pytest.approx(2e8, rel=0.02)
    assert curve[-1] == told["runs"][0]["validation_bits_per_byte"] < curve[0]


def test_positions_average_to_the_whole(measured: tuple[Method, dict]) -> None:
    method, told = measured
    assert isinstance(method.held_out, Documents)
    documents = encoded(method.held_out.tokenizer, method.held_out.texts.test)
    counts: dict[int, int] = {}
    for document in documents:
        for place in range(len(document)):
            counts[place % 64] = counts.get(place % 64, 0) + 1
    total = 0.0
    for low, high, bits, accuracy in told["runs"][0]["by_context_position"]:
        total += bits * sum(counts[place] for place in range(low - 1, high) if place in counts)
        assert 0 <= accuracy <= 1
    assert total / sum(counts.values()) == pytest.approx(told["runs"][0]["bits_per_byte"], rel=1e-4)


def test_accuracy_by_place_in_the_window_counts_each_documents_tokens_from_its_start() -> None:
    documents = [np.array([5, 6, 7, 8, 9, 1]), np.array([4, 3, 1])]
    # pieces of 4: places 0 1 0 1 | 0 (1 is the end) | 0 1 (end)
    right = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0]], bool)
    told = by_position(np.ones((3, 4), np.float32), right, documents, density=2.0, window_tokens=2)
    assert told["accuracy_by_window_position"] == [3 / 4, 0.0]
    assert [place[:2] for place in told["by_context_position"]] == [[1, 1], [2, 2], [3, 4]]
    assert [place[3] for place in told["by_context_position"]] == [2 / 3, 1 / 3, 2 / 3]


def test_a_finished_run_is_not_trained_again(measured: tuple[Method, dict]) -> None:
    method, told = measured
    folder = Path(method.directory) / "run-0.01-0"
    assert not (folder / "train").exists()
    before = (folder / "lm.bin").stat().st_mtime_ns
    again = train_method(method)
    assert again["runs"][0]["bits_per_byte"] == told["runs"][0]["bits_per_byte"]
    assert (folder / "lm.bin").stat().st_mtime_ns == before


def test_the_same_method_trains_the_same_model(measured: tuple[Method, dict], tmp_path: Path) -> None:
    method, _ = measured
    one = LMSettings(**{**SETTINGS.__dict__, "learning_rates": (1e-2,), "seeds": (0,)})
    train_method(_method(tmp_path, one))
    assert (tmp_path / "out" / "lm.bin").read_bytes() == (Path(method.directory) / "lm.bin").read_bytes()


def test_a_loss_that_explodes_is_told_and_an_only_one_is_an_error(tmp_path: Path) -> None:
    wild = LMSettings(**{**SETTINGS.__dict__, "learning_rates": (1e-2, 1e30), "seeds": (0,)})
    told = train_method(_method(tmp_path / "a", wild))
    assert told["tried"][1]["validation_bits_per_byte"] is None
    assert "not finite at step" in told["tried"][1]["failed"]
    only = LMSettings(**{**SETTINGS.__dict__, "learning_rates": (1e30,)})
    with pytest.raises(UserError, match=r"bytes: no learning rate of \(1e\+30,\) had a finite loss; lower them"):
        train_method(_method(tmp_path / "b", only))


def test_generated_text_is_that_of_the_ids(measured: tuple[Method, dict]) -> None:
    method, _ = measured
    model = TrainedLM.from_bytes((Path(method.directory) / "lm.bin").read_bytes())
    told = serving_speed(model, tokenizers.of_bytes(), [b"alpha ", b"beta gamma "], 8)
    assert told["served_bytes_per_step"] <= 1  # ids are bytes; the two special ones are none
    assert told["served_bytes_per_s"] == pytest.approx(told["served_tokens_per_s"] * told["served_bytes_per_step"])
    greedy = continued(model, tokenizers.of_bytes(), [b"alp"], new_tokens=2, sampling=Sampling(temperature=0))
    assert tokenizers.of_bytes().decode(greedy[0][greedy[0] > 1]) == b"ha"


def test_settings_survive_json_without_their_methods() -> None:
    back = settings_of(json.loads(json.dumps(settings_json(SETTINGS))))
    assert back.model == SETTINGS.model
    assert tuple(back.learning_rates) == SETTINGS.learning_rates
    assert back.methods == []
    assert not {"steps", "example_bytes"} & set(
        settings_json(SETTINGS)
    )  # runs of before they were there stay what they are
    both = settings_of(settings_json(replace(SETTINGS, steps=7, example_bytes=512)))
    assert (both.steps, both.example_bytes) == (7, 512)


def test_steps_that_are_set_need_no_flops(measured: tuple[Method, dict]) -> None:
    method, told = measured
    assert replace(method, settings=replace(SETTINGS, steps=7)).steps == 7
    assert method.steps == told["steps"] != 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ("bytes", "bytes")}, "the method bytes is named twice"),
        ({"methods": ("wrods:4096",)}, "unknown code 'wrods'; did you mean words"),
        ({"learning_rates": ()}, "learning_rates is empty"),
        ({"training_flops": 0}, "training_flops is 0; give a number above 0"),
        ({"steps": 0}, "steps is 0; give a number above 0"),
    ],
)
def test_wrong_settings_are_one_line(wrong: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LMSettings(**wrong)
