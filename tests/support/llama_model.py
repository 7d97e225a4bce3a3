"""llama.cpp's own server with a language model of one page: run as a program, with its packages on the path.

The model is real and answers in milliseconds. Its layers hold nothing but zeros, so that what goes in comes
out: the output matrix alone says which token follows which. And the template has a prompt end with the last
word of the question; so that word decides on the reply. It prints where it serves, and ends with its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

END = "</s>"
WORD_BYTES = 64
"""Of the model's tables, a multiple of which is the size of all."""

REPLIES: dict[str, tuple[str, ...]] = {
    "greet": ("Good", " day", " to", " you", ".", END),
    "smile": (*(f"<0x{byte:02X}>" for byte in "😀".encode()), END),
    "ponder": ("<think>", "First", " I", " wonder", "</think>", "\n\n", "Then", " we", " answer", END),
    "forever": ("tick", " tock", "tick"),
    "nothing": (END,),
    "{": ('"colour"', ":", ' "green"', "}", END),
    "alone.": ("“", "About", " trees", "”", END),  # with which the wish for a title ends
    "1-shown": ("one", END),
    "2-shown": ("two", END),
    "3-shown": ("three", END),
    "4-shown": ("four", END),
}
"""What is said after which word: each word leads to one other. Any other one is answered `PARDON`.

A reply that must be JSON, which the server's grammar sees to, is the one after `{`.
"""
PARDON = ("Pardon", "?", END)

TEMPLATE = r"""
{%- set dialog = messages | rejectattr("role", "equalto", "system") | list -%}
{%- for message in dialog -%}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}
        {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {{- "<|" + message.role + "|>" -}}
    {%- if message.reasoning_content -%}
        {{- "<think>" + message.reasoning_content + "</think>" -}}
    {%- endif -%}
    {{- message.content + "<|end|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- set word = (messages[-1].content | replace("\n", " ")).split(" ")[-1] -%}
    {{- "<|assistant|>" + (messages | length | string + "-shown" if word == "count" else word) -}}
{%- endif -%}
"""
"""Roles that don't alternate are an error, as in many models' templates; `count` counts the messages."""


def write_model(path: Path) -> None:
    """Writes the model as a GGUF file."""
    import gguf
    import numpy as np

    kinds = gguf.TokenType
    vocabulary = {"<unk>": kinds.UNKNOWN, "<s>": kinds.CONTROL, END: kinds.CONTROL}
    vocabulary |= {f"<0x{byte:02X}>": kinds.BYTE for byte in range(256)}
    for word, reply in {**REPLIES, "": PARDON}.items():
        vocabulary |= {each: kinds.USER_DEFINED for each in (word, *reply) if each and each not in vocabulary}
    while len(vocabulary) % WORD_BYTES:
        vocabulary[f"<unused {len(vocabulary)}>"] = kinds.UNUSED
    number = {word: i for i, word in enumerate(vocabulary)}
    size = len(number)

    follows = np.zeros((size, size), np.float32)  # [what comes, after what]
    follows[number[PARDON[0]]] = 0.5
    follows[number["{"]] = 0.25
    for word, reply in {**REPLIES, PARDON[0]: PARDON[1:]}.items():
        for before, after in zip((word, *reply), reply, strict=False):
            assert follows[:, number[before]].max() < 1 or follows[number[after], number[before]] == 1, before
            follows[number[after], number[before]] = 1

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(65_536)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(vocabulary))
    writer.add_token_scores([0.0] * size)
    writer.add_token_types(list(vocabulary.values()))
    writer.add_bos_token_id(number["<s>"])
    writer.add_eos_token_id(number[END])
    writer.add_unk_token_id(number["<unk>"])
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    writer.add_tensor("token_embd.weight", np.eye(size, dtype=np.float32))
    writer.add_tensor("output.weight", follows)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    for name in ("attn_q", "attn_k", "attn_v"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((16, size), np.float32))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((32, size), np.float32))
    writer.add_tensor("blk.0.attn_output.weight", np.zeros((size, 16), np.float32))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((size, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(port: int, key: str, context: int, most_tokens: int, tells_reasoning: bool) -> Any:
    """Starts the server: four requests at a time, of so many tokens each, always the likeliest word."""
    import xllamacpp

    formats = xllamacpp.common_reasoning_format
    params = xllamacpp.CommonParams()
    with tempfile.TemporaryDirectory() as folder:
        params.model.path = str(Path(folder) / "one-page.gguf")
        write_model(Path(params.model.path))
        params.model_alias = {"one-page"}
        params.port = port
        params.api_keys = [key]
        params.n_parallel = 4
        params.n_ctx = 4 * context
        params.n_predict = most_tokens
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.sampling.temp = 0.0
        params.reasoning_format = (
            formats.COMMON_REASONING_FORMAT_AUTO if tells_reasoning else formats.COMMON_REASONING_FORMAT_NONE
        )
        params.endpoint_slots = True
        return xllamacpp.Server(params)


if __name__ == "__main__":
    server = serve(**json.loads(sys.argv[1]))
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # whatever it is still saying
