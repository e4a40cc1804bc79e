import pytest

from beam_jobs.equal_info.config import JobConfig
from beam_jobs.equal_info.job import run
from beam_jobs.units import ReadConfig
from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings


@pytest.fixture(scope="session")
def codec() -> Codec:
    strings = sorted({bytes([byte]) for byte in range(256)} | {b"the ", b"and ", b"ing", "é".encode()})
    return Codec(dictionary_of_strings(strings), scheme="pruned")


@pytest.fixture(scope="session")
def texts(codec) -> list[bytes]:
    # code 0 begins, ends and fills documents
    zero = codec.decode([0])
    return [
        zero,
        zero + b"middle",
        b"end" + zero,
        zero * 9,
        b"the end",
        "déjà vu".encode(),
        b"\xff\xfe",
        b"and so on" * 9,
    ]


@pytest.fixture(scope="session")
def datasets(tmp_path_factory, codec, texts) -> dict[str, str]:
    """One dataset folder of two splits for each output format."""
    home = tmp_path_factory.mktemp("datasets")
    codec.save(str(home / "c.codec"))
    for number, text in enumerate(texts):
        (home / f"{number}.txt").write_bytes(text)
    for output_format in ("tfrecord", "array_record"):
        for split in ("train", "validation"):
            run(
                JobConfig(
                    input=(str(home / "*.txt"),),
                    output=str(home / output_format),
                    codec=str(home / "c.codec"),
                    split=split,
                    num_shards=2,
                    output_format=output_format,
                    read=ReadConfig(documents="file"),
                )
            )
    return {name: str(home / name) for name in ("tfrecord", "array_record")}
