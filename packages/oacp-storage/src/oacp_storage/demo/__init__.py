"""The demo: a team of agents is killed in the middle of its work and goes on where it was."""
