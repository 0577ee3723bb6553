"""Other people's formats: the Hugging Face hub, pickled checkpoints in, GGUF and ONNX out."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.interop.opening import from_pretrained, open_model, resolve_model, save_pretrained
