"""The prompt's embeddings; in the service the prompt is always empty, so they are kept."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

TEXT_TOKENS = 77


def token_ids(tokenizer: CLIPTokenizer, prompt: str) -> Tensor:
    """1 x 77 ids, cut off or padded with the end token."""
    found = tokenizer(
        prompt, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt"
    )
    ids: Tensor = found["input_ids"]
    return ids


class TextEncoder:
    """Encodes each of the last few prompts once."""

    def __init__(self, tokenizer: CLIPTokenizer, model: CLIPTextModel) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.encode = lru_cache(maxsize=8)(self._encode)

    def _encode(self, prompt: str) -> Tensor:
        """1 x 77 x width: the last hidden state after the final norm. Padding is not masked."""
        ids = token_ids(self.tokenizer, prompt).to(self.model.device)
        with torch.inference_mode():
            hidden: Tensor = self.model(ids).last_hidden_state
        return hidden
