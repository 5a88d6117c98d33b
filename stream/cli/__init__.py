"""The command `enforcer`: verbs for operators, and the only room that speaks to a person.

A verb's module is loaded when the verb is asked for, so that `enforcer --help` starts at once.
Exit codes: 0 done, 1 what was asked about is not so, 2 usage, 69 Kafka or Redis is unavailable,
78 settings or policy are wrong, 130 interrupted.
"""

from .entry import main

__all__ = ["main"]
