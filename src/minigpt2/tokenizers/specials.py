"""Special tokens: ids that stand for no text, and that no text can ever become."""

END_OF_TEXT = "<|endoftext|>"  # GPT-2's separator between documents
