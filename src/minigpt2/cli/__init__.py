"""The command line: one file a verb, each importing only what it needs, when it is run."""
