"""A codec as bytes: magic, version, a JSON header, compressed arrays, a checksum. No pickle.

The automaton is not stored: it follows from the dictionary in a few hundredths of a second, so a damaged or hostile
file can only give a wrong dictionary, and all that the kernels' bounds rest on is made here.
"""

import hashlib
import struct
import zlib
from typing import Any

import numpy as np

from models.equal_info.dictionary import Dictionary
from models.equal_info.trie import Trie
from shammie.errors import UserError
from shammie.files import canonical_json, json_object_of

MAGIC = b"\x89EQINFO\n"
VERSION = 1
_HEAD = struct.Struct("<8sHI")
_CHECKSUM_BYTES = 32
_CURE = "train one with `shammie run equal_info`, or name another file"


def pack(dictionary: Dictionary, header: dict[str, Any], fingerprint: str) -> bytes:
    """The artefact of a dictionary.

    Args:
        dictionary: the tokens.
        header: JSON values to travel with it.
        fingerprint: of the codec; who unpacks compares.
    """
    trie = dictionary.trie
    children = np.diff(trie.first_child).astype("<u2")
    arrays = [children, trie.label, _deltas(dictionary.code), _deltas(dictionary.node_of_code)]
    full_header = {**header, "nodes": len(trie), "vocab_size": dictionary.vocab_size, "fingerprint": fingerprint}
    text = canonical_json(full_header).encode()
    body = zlib.compress(b"".join(array.tobytes() for array in arrays), 9)
    data = _HEAD.pack(MAGIC, VERSION, len(text)) + text + body
    return data + hashlib.sha256(data).digest()


def unpack(data: bytes, name: str) -> tuple[Dictionary, dict[str, Any]]:
    """The dictionary and header of an artefact.

    Args:
        data: what `pack` made.
        name: what to call it in errors.

    Raises:
        UserError: no codec, another version, or damaged.
    """
    if len(data) < _HEAD.size + _CHECKSUM_BYTES or data[:8] != MAGIC:
        raise UserError(f"{name} is not a codec", _CURE)
    _, version, header_bytes = _HEAD.unpack_from(data)
    if version != VERSION:
        raise UserError(f"{name} is a codec of version {version}, this release reads version {VERSION}", _CURE)
    if hashlib.sha256(data[:-_CHECKSUM_BYTES]).digest() != data[-_CHECKSUM_BYTES:]:
        raise UserError(f"{name} is damaged: its checksum does not match", "copy it again from where it was made")
    try:
        header = json_object_of(data[_HEAD.size : _HEAD.size + header_bytes])
        nodes, vocab_size = header["nodes"], header["vocab_size"]
        # before anything is unpacked: a header of a bomb may claim any size
        if not isinstance(nodes, int) or not 257 <= nodes < 1 << 22:
            raise ValueError(f"its header tells of {nodes!r:.40} nodes")
        if not isinstance(vocab_size, int) or not 256 <= vocab_size <= 1 << 16:
            raise ValueError(f"its header tells of {vocab_size!r:.40} codes")
        size = nodes * 7 + vocab_size * 4
        body = zlib.decompressobj().decompress(data[_HEAD.size + header_bytes : -_CHECKSUM_BYTES], size + 1)
        if len(body) != size:
            raise ValueError("the arrays do not have the sizes of the header")
        dictionary = _dictionary_of(body, nodes, vocab_size)
    except (ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
        raise UserError(f"{name} is not a valid codec: {error}", _CURE) from error
    return dictionary, header


def _dictionary_of(body: bytes, nodes: int, vocab_size: int) -> Dictionary:
    children = np.frombuffer(body, "<u2", nodes)
    label = np.frombuffer(body, np.uint8, nodes, 2 * nodes).copy()
    code = np.cumsum(np.frombuffer(body, "<i4", nodes, 3 * nodes), dtype=np.int32)
    node_of_code = np.cumsum(np.frombuffer(body, "<i4", vocab_size, 7 * nodes), dtype=np.int32)
    if children.sum() != nodes - 1:
        raise ValueError("the tree has another number of nodes than its header says")
    parent = np.concatenate([[-1], np.repeat(np.arange(nodes), children)]).astype(np.int32)
    siblings = parent[1:] == parent[:-1]
    if np.any(parent >= np.arange(nodes)) or np.any(label[1:][siblings] <= label[:-1][siblings]):
        raise ValueError("the tree is not in canonical order")
    if code.min() < -1 or code.max() >= vocab_size or node_of_code.min() < -1 or node_of_code.max() >= nodes:
        raise ValueError("a code is out of range")
    return Dictionary(Trie(parent, label), code, node_of_code)


def _deltas(array: np.ndarray) -> np.ndarray:
    return np.diff(array, prepend=0).astype("<i4")
