"""What holds for every test: how fast this machine is decides nothing."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
