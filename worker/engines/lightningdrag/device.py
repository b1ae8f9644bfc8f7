"""What must be known of the device that the model is on."""

from __future__ import annotations

import torch

#: What else than an error of its own torch says when an allocation fails: a CPU's, the libraries'.
LACKS = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_lack_of_memory(error: RuntimeError) -> bool:
    """Whether fewer edits at once may do what these could not."""
    is_torchs = isinstance(error, torch.OutOfMemoryError)
    return is_torchs or any(words in str(error) for words in LACKS)


def keep_float32() -> None:
    """Let float32 be float32: else CUDA rounds what a convolution multiplies to 10 bits (TF32)."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
