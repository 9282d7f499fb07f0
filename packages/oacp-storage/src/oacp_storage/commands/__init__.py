"""The commands: one file each, a function of the name of its file."""
