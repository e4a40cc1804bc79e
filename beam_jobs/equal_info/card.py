"""The data card of a dataset: what is in it, how it was made, how to read it."""

from typing import Any


def card(splits: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """The card as Markdown; the same text for the same data.

    Args:
        splits: manifest and stats of each split.
    """
    config = splits[0][0]["config"]
    lines = [
        "# Token streams by an Equal-Info codec",
        "",
        _code(config),
        "The codec itself is `equal_info.codec` in this folder; decoding with it gives the text back, byte by byte,",
        "unless the scheme is `greedy` or `greedy_windows`, which lose text.",
        "",
        "| split | documents | text MB | tokens | bytes/token | examples | shards | bad records |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for manifest, stats in splits:
        bad = sum(stats["dead_letters"].values())
        lines.append(
            f"| {manifest['config']['split']} | {stats['documents']:,} | {stats['text_bytes'] / 1e6:,.1f}"
            f" | {stats['targets_tokens']:,} | {stats['bytes_per_token']:.3f} | {stats['examples']:,}"
            f" | {len(manifest['shards'])} | {bad:,} |"
        )
    lines += [
        "",
        "Each example holds one feature, `targets`: model ids, where id = code + 2, 0 pads and 1 ends a document.",
        "A document over the size limit comes as numbered continuations (feature `continuation`: 1, 2, …), one after",
        "another in one shard; only the last has the end id.",
        *_groups([manifest["config"] for manifest, _ in splits]),
        "",
        "| setting | " + " | ".join(manifest["config"]["split"] for manifest, _ in splits) + " |",
        "|---" * (len(splits) + 1) + "|",
    ]
    for key in sorted(config):
        lines.append(f"| {key} | " + " | ".join(str(manifest["config"].get(key)) for manifest, _ in splits) + " |")
    lines += [
        "",
        "Bad records are listed in `dead_letters.SPLIT.jsonl`; sha256 and size of every shard in",
        "`manifest.SPLIT.json`. To read the dataset with SeqIO:",
        "",
        "    from seqio_tasks.equal_info import add_task",
        "    task = add_task(FOLDER)",
        "",
    ]
    return "\n".join(lines)


def _code(config: dict[str, Any]) -> str:
    """What text is encoded by."""
    scheme, vocab_size, window_bits = (config[f"codec_{name}"] for name in ("scheme", "vocab_size", "window_bits"))
    if stream := config.get("codec_stream"):
        windows = f", windows of {window_bits} bits" if window_bits else ""
        return f"Text compressed to the stream `{stream}` (arXiv:2404.03626){windows}, read as {vocab_size:,} tokens."
    if window_bits == 0:
        return f"Text read by `{scheme}`, {vocab_size:,} tokens; one of the baselines of arXiv:2404.03626."
    return (
        f"Text encoded by the `{scheme}` code of {vocab_size:,} tokens (arXiv:2404.03626),"
        f" windows of {window_bits} bits."
    )


def _groups(configs: list[dict[str, Any]]) -> list[str]:
    """How examples of a fixed size were cut, if any were."""
    lines = []
    for config in configs:
        if config["example_bytes"]:
            lines += [
                "",
                f"Examples of split {config['split']} hold {config['example_bytes']:,} bytes of"
                f" {config['group_documents']:,} consecutive documents joined, an end of",
                "document counting one byte; the last of each group holds what is left. Groups do not cross work units",
                f"(files, or parts of about {config['unit_bytes']:,} bytes of large ones), so that the last group of a"
                " unit may hold fewer documents.",
            ]
    return lines
