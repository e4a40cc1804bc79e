"""Model ids: what language models read. A codec speaks codes; an id is a code + 2.

Id 0 pads and id 1 ends a document, because SeqIO and T5X give id 0 no share in the loss.
"""

import numpy as np
from numpy.typing import ArrayLike

PAD_ID = 0
END_OF_DOCUMENT_ID = 1
SPECIAL_IDS = 2


def ids_of_codes(codes: ArrayLike, *, end: bool = False) -> np.ndarray:
    """The model ids of codes.

    Args:
        codes: integers [tokens].
        end: append the id that ends a document.

    Returns:
        int32 [tokens], or [tokens + 1] with the end.
    """
    ids = np.asarray(codes).astype(np.int32) + SPECIAL_IDS
    return np.append(ids, np.int32(END_OF_DOCUMENT_ID)) if end else ids


def codes_of_ids(ids: ArrayLike) -> np.ndarray:
    """The codes of model ids up to the first end of document; padding is left out.

    Args:
        ids: integers [tokens].

    Returns:
        int64 [codes].
    """
    ids = np.asarray(ids, np.int64).reshape(-1)
    ends = np.flatnonzero(ids == END_OF_DOCUMENT_ID)
    ids = ids[: ends[0]] if len(ends) else ids
    return ids[ids >= SPECIAL_IDS] - SPECIAL_IDS
