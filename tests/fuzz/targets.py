"""Every parser of bytes from outside, in groups that are fuzzed for a time each; made only when asked for."""

from importlib import import_module

from tests.fuzz.loop import Case

_WHERE = {
    "artefacts": "codec_targets",
    "codes": "codec_targets",
    "weights": "weight_targets",
    "checkpoints": "weight_targets",
    "texts": "reader_targets",
    "parquet": "reader_targets",
    "tfrecords": "reader_targets",
    "array_records": "reader_targets",
    "tfds_infos": "reader_targets",
    "images": "image_targets",
    "endpoints": "reply_targets",
    "http": "http_targets",
    "answers": "reply_targets",
    "sandboxes": "reply_targets",
    "problems": "record_targets",
    "records": "record_targets",
}


GROUPS = tuple(_WHERE)


def cases_of(group: str) -> list[Case]:
    """The parsers of a group, or those that a function makes, given as module:function."""
    module, _, function = group.partition(":")
    return getattr(import_module(module if function else f"tests.fuzz.{_WHERE[group]}"), function or group)()
