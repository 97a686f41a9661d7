"""Opens an exported folder as others will: with transformers alone. A script, for a process of its own.

python reopened.py FOLDER QUESTIONS.json ANSWERS.safetensors
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.inference_mode()
def main(folder: str, questions: str, answers: str) -> None:
    """Write what the folder makes of some conversations.

    Args:
        questions: a JSON list of conversations, each a list of messages with role and content.
        answers: for the first one `tokens.0`, `own.0`: its logits (tokens, vocabulary) in the weights' own type, and
            `exact.0`: in float32; and so on; and `ends`, the tokens that end an answer.
    """
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    here = {"trust_remote_code": False, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **here)
    rows = [tokenizer.apply_chat_template(each, add_generation_prompt=True, return_dict=False) for each in asked]
    found = {f"tokens.{at}": torch.tensor(row) for at, row in enumerate(rows)}
    for name, dtype in (("own", "auto"), ("exact", torch.float32)):
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **here)
        found["ends"] = torch.tensor(network.generation_config.eos_token_id).flatten()
        found |= {f"{name}.{at}": network(torch.tensor([row])).logits[0].float() for at, row in enumerate(rows)}
    save_file({name: value.contiguous() for name, value in found.items()}, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
