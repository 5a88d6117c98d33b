"""Watch what workloads do against what is expected of them, and stop the ones that go bad.

The distribution is `stream-enforcer`, the command `enforcer`; README.md is the way in. Each folder
or file beside this one is a room with one entry: `from stream.gateway import Gateway`.
"""

__version__ = "0.1.0.dev0"
