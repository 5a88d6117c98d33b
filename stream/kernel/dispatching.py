"""Kernels as Numba dispatches them, with the inner ones compiled only as far as the outer need.

Numba makes of each kernel that another one calls what Python could call, too: optimised, as machine
code, in a wrapper, in a file. All of it is thrown away, since the outer kernel takes in the code of
those it calls and is optimised as a whole. Some thirty kernels are called from Python, and four
hundred from kernels: left at what links, these take no time beyond being read and typed, and all is
compiled in less than half of the time (76 s instead of 164, of one core) into a fifth of the room.

Uses the inside of Numba, so its version is bounded in pyproject.toml.
"""

from __future__ import annotations

from typing import Any

from numba.core import compiler, sigutils, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """The code of an inner kernel with what it calls: to link, not to run."""

    def finalize(self) -> None:
        """Link what is called. Who links this optimises all of it at once."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)  # noqa: SLF001 - as its base does
            module = library._get_module_for_linking()  # noqa: SLF001 - as its base does
            self._final_module.link_in(module, preserve=True)
        self._final_module.verify()
        self._finalized = True


class _Inner:
    """A kernel compiled for other kernels; Numba knows it by this object's identity."""

    def __init__(self, result: Any) -> None:
        self.signature = result.signature


class Dispatcher(CPUDispatcher):  # type: ignore[misc]  # numba has no types
    """A kernel: called from Python it is compiled whole, called from a kernel to be linked."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inner: dict[tuple[Any, ...], _Inner] = {}

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Return what Numba types a call from a kernel with, compiled for these types."""
        signature, folded = self._compiler.fold_argument_types(args, kws)
        with global_compiler_lock:
            if tuple(folded) not in self._inner:
                self._compile_inner(tuple(folded))
        name = self.py_func.__name__
        known = [each.signature for each in self._inner.values()]
        template = typing.make_concrete_template(name, key=name, signatures=known)
        return template, signature, folded, {}

    def get_overload(self, sig: Any) -> Any:
        """Return what a call from a kernel with this signature is lowered to."""
        args, _ = sigutils.normalize_signature(sig)
        return self._inner[tuple(args)]

    def _compile_inner(self, args: tuple[Any, ...]) -> None:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = _InnerLibrary(self.targetctx.codegen(), self.py_func.__qualname__)
        result = compiler.compile_extra(
            self.typingctx,
            self.targetctx,
            self.py_func,
            args=args,
            return_type=None,
            flags=flags,
            locals=self.locals,
            library=library,
            pipeline_class=self._compiler.pipeline_class,
        )
        inner = _Inner(result)
        self.targetctx.insert_user_function(inner, result.fndesc, [library])
        self._inner[tuple(result.signature.args)] = inner
