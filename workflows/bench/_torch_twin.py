"""Our language model as a Hugging Face transformers model in torch, sampled on request; for `shammie bench sampler`.

A program of its own, run by the Python of a benchmark environment that has torch and transformers and nothing of ours:
`python _torch_twin.py MODEL.npz`. It answers each line of JSON on stdin by one on stdout. B = batch, L = queries,
S = keys, H = heads, K = head width, R = distances that have an embedding of their own.
"""

import importlib
import json
import sys
import time
from typing import Any


def build(path: str) -> Any:
    """The model, for generation, from sizes and weights.

    Args:
        path: an .npz of "config", JSON, and of the parameters, named by their paths, such as "mlp_0/gate/kernel".
    """
    np: Any = importlib.import_module("numpy")
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    nn, functional = torch.nn, torch.nn.functional
    data = np.load(path, allow_pickle=False)
    sizes = json.loads(str(data["config"]))
    heads, width = sizes["heads"], sizes["head_width"]
    weight = lambda name: nn.Parameter(torch.from_numpy(data[name].copy()), requires_grad=False)  # noqa: E731

    def linear(name: str, outputs: int) -> Any:
        """A layer that holds its matrix as torch does, [outputs, inputs]."""
        matrix = data[name + "/kernel"]
        matrix = matrix.reshape(-1, outputs)
        layer = nn.Linear(matrix.shape[0], outputs, bias=False)
        layer.weight = nn.Parameter(torch.from_numpy(matrix.T.copy()), requires_grad=False)
        return layer

    class Block(nn.Module):
        """Attention and MLP, each behind its norm."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number
            for name in ("query", "key", "value"):
                setattr(self, name, linear(f"attention_{number}/{name}", heads * width))
            self.out = linear(f"attention_{number}/out", sizes["width"])
            self.distance = weight(f"attention_{number}/distance")
            self.attention_norm = weight(f"attention_norm_{number}/scale")
            self.mlp_norm = weight(f"mlp_norm_{number}/scale")
            self.gate = linear(f"mlp_{number}/gate", sizes["mlp_width"])
            self.linear = linear(f"mlp_{number}/linear", sizes["mlp_width"])
            self.down = linear(f"mlp_{number}/out", sizes["width"])

        def forward(self, x_BLD: Any, hidden_BS: Any, nearest_LS: Any, future_LS: Any, cache: Any) -> Any:
            normed = functional.rms_norm(x_BLD, x_BLD.shape[-1:], self.attention_norm, 1e-6)
            split = lambda y: y.view(*y.shape[:2], heads, width).transpose(1, 2)  # noqa: E731
            q_BHLK, k_BHSK, v_BHSK = split(self.query(normed)), split(self.key(normed)), split(self.value(normed))
            if cache is not None:
                k_BHSK, v_BHSK = cache.update(k_BHSK, v_BHSK, self.number)
            q_BHLK = q_BHLK * width**-0.5
            if nearest_LS.shape[0] == 1:
                bias_BHLS = q_BHLK @ self.distance[nearest_LS[0]].T
            else:
                near_BHLR = q_BHLK @ self.distance.T
                bias_BHLS = near_BHLR.gather(-1, nearest_LS.expand(*near_BHLR.shape[:2], *nearest_LS.shape))
                bias_BHLS = bias_BHLS.masked_fill(future_LS, -1e9)
            if hidden_BS is not None:
                bias_BHLS = bias_BHLS.masked_fill(hidden_BS[:, None, None], -1e9)
            mixed = functional.scaled_dot_product_attention(q_BHLK, k_BHSK, v_BHSK, attn_mask=bias_BHLS, scale=1.0)
            x_BLD = x_BLD + self.out(mixed.transpose(1, 2).flatten(2))
            normed = functional.rms_norm(x_BLD, x_BLD.shape[-1:], self.mlp_norm, 1e-6)
            return x_BLD + self.down(functional.relu(self.gate(normed)) * self.linear(normed))

    class Config(transformers.PreTrainedConfig):
        """The sizes, under the names that generation asks for."""

        model_type = "shammie_twin"

    class Twin(transformers.PreTrainedModel, transformers.GenerationMixin):
        """The decoder."""

        config_class = Config

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.embedding = weight("embedding")
            self.blocks = nn.ModuleList(Block(number) for number in range(sizes["layers"]))
            self.final_norm = weight("final_norm/scale")
            self.logits = linear("logits", sizes["vocab_size"])

        def forward(
            self,
            input_ids: Any,
            attention_mask: Any = None,
            past_key_values: Any = None,
            logits_to_keep: int = 0,
            **_: Any,
        ) -> Any:
            length = input_ids.shape[1]
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            distance_LS = torch.arange(past, past + length)[:, None] - torch.arange(past + length)[None]
            nearest_LS = distance_LS.clamp(0, sizes["max_distance"] - 1)
            hidden_BS = None if attention_mask is None or bool(attention_mask.all()) else attention_mask == 0
            x_BLD = self.embedding[input_ids]
            for block in self.blocks:
                x_BLD = block(x_BLD, hidden_BS, nearest_LS, distance_LS < 0, past_key_values)
            x_BLD = functional.rms_norm(x_BLD[:, -logits_to_keep:], x_BLD.shape[-1:], self.final_norm, 1e-6)
            output = transformers.modeling_outputs.CausalLMOutputWithPast
            return output(logits=self.logits(x_BLD), past_key_values=past_key_values)

    config = Config(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=heads,
    )
    return Twin(config).eval()


def sampled(model: Any, prompts: list[list[int]], asked: dict[str, Any]) -> tuple[float, list[list[int]]]:
    """Continues prompts in whole batches, padded in front: seconds, and the new ids with what pads them.

    Args:
        model: from `build`.
        prompts: ids of each.
        asked: "batch" rows; "new_tokens"; "end_id", -1 for none; "top_k", "temperature", 0 for greedy.
    """
    torch: Any = importlib.import_module("torch")
    how = {"do_sample": asked["temperature"] > 0}
    if how["do_sample"]:
        how |= {"temperature": asked["temperature"], "top_k": asked["top_k"], "top_p": 1.0}
    how |= {"eos_token_id": asked["end_id"]} if asked["end_id"] >= 0 else {}
    rows = []
    begun = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(prompts), asked["batch"]):
            some = prompts[start : start + asked["batch"]]
            longest = max(map(len, some))
            ids = torch.tensor([[0] * (longest - len(one)) + one for one in some])
            mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in some])
            out = model.generate(
                input_ids=ids, attention_mask=mask, pad_token_id=0, max_new_tokens=asked["new_tokens"], **how
            )
            rows += out[:, longest:].tolist()
    return time.perf_counter() - begun, rows


def main() -> None:
    """Serves requests until stdin ends; the first line tells the versions and threads."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = build(sys.argv[1])
    told = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seconds, rows = sampled(model, asked["prompts"], asked)
        print(json.dumps({"seconds": seconds, "rows": rows}), flush=True)


if __name__ == "__main__":
    main()
