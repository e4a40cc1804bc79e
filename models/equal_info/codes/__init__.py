"""The codes: each a small module with three functions.

    propose(m1, vocab_size, window_bits) -> Candidates     what M1 offers
    prune(candidates, text, vocab_size) -> Dictionary      what becomes a token
    segment(dictionary, text) -> codes                     how text is read, by definition

To add a code, write such a module and name it in CODES. A codec compiles longest match; `workflows.compare_codes.build`
refuses a code whose `segment` reads otherwise, until the automaton can do it too.
"""

from types import ModuleType

from models.equal_info.codes import delay, full, greedy, pruned, words

CODES: dict[str, ModuleType] = {"greedy": greedy, "delay": delay, "full": full, "pruned": pruned, "words": words}
