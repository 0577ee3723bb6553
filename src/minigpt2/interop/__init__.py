"""Other people's formats: the Hugging Face hub, pickled checkpoints in, GGUF and ONNX out."""

from minigpt2.interop.opening import (
    from_pretrained,
    open_model,
    resolve_model,
    save_pretrained,
)

__all__ = ["from_pretrained", "open_model", "resolve_model", "save_pretrained"]
