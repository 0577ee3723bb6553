"""Search over training runs: `space` says what of, `search` runs it, `outcome` says what came.

Nothing is imported here: a mistake in a space is told without torch.
"""
